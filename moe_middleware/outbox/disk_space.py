"""Allocates disk space for a file before it is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from struct import pack

REMOTE_OR_COPIED = (
    *("btrfs", "zfs", "bcachefs", "nfs", "cifs", "smb", "9p", "ceph", "glusterfs"),
    *("lustre", "fuse", "virtiofs", "fakeowner", "afs"),
)
"""The beginnings of the names of such file systems."""

SET_FLAGS, NO_COPY_ON_WRITE = 0x40086602, 0x00800000
"""Linux's FS_IOC_SETFLAGS and FS_NOCOW_FL."""


def allocate(file: int, size: int) -> None:
    """Allocate an empty file's space, so that later writes cannot find the disk full.

    Args:
        file: The file descriptor.
        size: Bytes.

    Raises:
        OSError: The disk has not enough space.
    """
    # Some file systems cannot allocate: there, zeros are written.
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:
        _fill(file, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        _fill(file, size)


def _fill(file: int, size: int) -> None:
    """Write zeros where nothing can be allocated: a file with holes has no room."""
    while size > 0:
        size -= os.write(file, bytes(min(size, 1 << 20)))


def keep_in_place(file: int) -> bool:
    """Have an empty file written in place on btrfs; return whether that was needed.

    Else each write would go to a new place, and the allocated space would stay unused.

    Args:
        file: The file descriptor.
    """
    try:
        from fcntl import ioctl

        ioctl(file, SET_FLAGS, pack("l", NO_COPY_ON_WRITE))
    except (ImportError, OSError):
        return False
    return True


def is_remote_or_copied(path: str) -> bool:
    """Return whether a file's allocated space may be lacking when it is written.

    Its file system is another machine's, or writes each block to a new place.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    folder = Path(path).resolve().parent
    kind, longest = "", -1
    for mount in mounts:
        about, _, system = mount.partition(" - ")
        # Blanks within a path are written in octal.
        point = Path(about.split()[4].replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = system.split()[0], len(point.parts)
    return kind.startswith(REMOTE_OR_COPIED)
