"""Disks of a scenario's own, which fill up, fail, and go."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

EXT4_SIZE = 64 << 20
"""Bytes of a disk with a file system of its own."""


class NotHere(Exception):
    """This machine lacks what a scenario needs."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk until the block ends.

    Raises:
        NotHere: This machine does not allow it.
    """
    disk = folder / "disk"
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
    try:
        yield disk
    finally:
        _unmount(disk)


def fill(ballast: Path) -> None:
    """Write a file until nothing more fits on its disk."""
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512):
            try:
                while file.write(b"." * size):
                    pass
            except OSError:
                continue


_SHUT_DOWN = 0x8004587D
"""Linux's FS_IOC_SHUTDOWN. After an error that makes ext4 read-only, a sync that runs
just then may say that it succeeded."""

_WITHOUT_THE_LOG = 2


class Ext4Disk:
    """A disk with ext4, in a file of the folder, until the block ends.

    Args:
        folder: Where it is mounted, as ``disk``.

    Raises:
        NotHere: This machine does not allow it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self._copies = 0
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(EXT4_SIZE)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        except (OSError, subprocess.CalledProcessError):
            raise NotHere("mkfs.ext4 is missing") from None
        self._mount()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.go()

    def fail(self) -> None:
        """Fail for good: what was not synced before never reaches the disk."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUT_DOWN, struct.pack("I", _WITHOUT_THE_LOG))
        finally:
            os.close(folder)

    def go(self) -> None:
        """Unmount it; processes keep the files that they have open."""
        _unmount(self.path)

    def come_back(self) -> None:
        """Mount a repaired copy at its place."""
        copy = self._image.with_suffix(f".{self._copies}")
        self._copies += 1
        self._image = Path(shutil.copyfile(self._image, copy))
        # 1: errors were corrected.
        ran = subprocess.run(["e2fsck", "-fy", str(copy)], capture_output=True)
        assert ran.returncode in (0, 1), ran.stderr
        self._mount()

    def _mount(self) -> None:
        options = "loop,errors=remount-ro"
        _mount("-o", options, str(self._image), str(self.path))


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise NotHere("a disk cannot be mounted here") from None


def _unmount(disk: Path) -> None:
    subprocess.run(["umount", "-l", str(disk)], check=True)
