"""The segments of a journal: memory for its records, of this process or in a file."""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Protocol

from .disk_space import allocate, keep_in_place
from .journal_records import HEAD, HEAD_SIZE, MAGIC, pack_head_into

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

SEGMENT_SIZE = 1 << 20
"""Bytes of a segment; a larger record gets a segment of its own."""


Buffer = bytes | bytearray | mmap.mmap


class Memory(Protocol):
    """The bytes of a segment, written and read by slices."""

    def __getitem__(self, where: slice, /) -> bytes | bytearray: ...

    def __setitem__(self, where: slice, data: bytes, /) -> None: ...


class Segment:
    """Memory for consecutive records; this kind ends with the process."""

    # Where its first record begins: a file has a mark before it.
    start = 0
    in_memory = True
    # Writes the head of a record at a place.
    write_head: Callable[..., None]

    def __init__(self, size: int, *, until: float = inf) -> None:
        """Make one of ``size`` bytes; none is better before ``until``, by the clock."""
        memory = bytearray(size)
        self.buffer: Memory = memory
        self.write_head = partial(pack_head_into, memory)
        self.size = size
        # Where the first record begins that was not taken yet, and the last one ends.
        self.next = self.end = self.start
        # How many of its events are neither stored nor dropped.
        self.live = 0
        self._until = until

    def untaken(self) -> tuple[Buffer, int]:
        """Return what holds the records that were not taken, and where it begins."""
        assert isinstance(self.buffer, Buffer)
        return self.buffer, 0

    def outlives(self) -> bool:
        """Whether its records outlive this process."""
        return False

    def is_replaceable(self) -> bool:
        """Whether a new segment may be better than this one."""
        return time.monotonic() >= self._until

    def sync(self) -> None:
        """Write its records to the disk, if they outlive the process."""

    def delete(self) -> None:
        """Free the memory; its records are stored."""

    def leave(self) -> None:
        """Release the records to other processes, if they outlive this one."""


class FileSegment(Segment):
    """A segment in a file.

    Args:
        path: The new file.
        size: Its size, in bytes. All of it is allocated here, because a write into the
            memory would end the process on a full disk.
        is_mapped: Whether it is mapped into memory; else each write is a system call,
            which may fail.

    Raises:
        OSError: It cannot be created.
    """

    start = len(MAGIC)
    in_memory = False

    def __init__(self, path: str, size: int, *, is_mapped: bool = True) -> None:
        self.path = path
        self.size = self.start + size
        self.next = self.end = self.start
        self.live = 0
        self._is_folder_synced = False
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not lock(file, path):
                raise FileExistsError(path)
            self._identity = os.fstat(file)
            is_mapped = is_mapped and not keep_in_place(file)
            allocate(file, self.size)
            # It keeps the file open, and so the lock.
            self._file: mmap.mmap | Writes = (
                mmap.mmap(file, self.size) if is_mapped else Writes(file)
            )
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(path)
            raise
        finally:
            os.close(file)
        self._file[: self.start] = MAGIC
        self.buffer = self._file
        if isinstance(self._file, mmap.mmap):
            self.write_head = partial(pack_head_into, self._file)
        else:
            self.write_head = self._file.write_head

    def untaken(self) -> tuple[Buffer, int]:
        """Return what holds the records that were not taken, and where it begins."""
        if isinstance(self._file, mmap.mmap):
            return self._file, 0
        return self._file[self.next : self.end], self.next

    def outlives(self) -> bool:
        """Whether the file still has its path."""
        return has_name(self._identity, self.path)

    def is_replaceable(self) -> bool:
        """Whether the file was deleted."""
        return not self.outlives()

    def sync(self) -> None:
        """Write its records to the disk."""
        with suppress(OSError):  # it was deleted, or its disk fails
            sync_file(self.path)
            if not self._is_folder_synced:
                sync_file(os.path.dirname(self.path))
                self._is_folder_synced = True

    def delete(self) -> None:
        """Free the memory, and delete the file."""
        if self.outlives():
            with suppress(OSError):
                os.unlink(self.path)
        self.leave()

    def leave(self) -> None:
        """Close the file, so that another process can take it over."""
        self._file.close()


class Writes:
    """A file's bytes where memory is not mapped: each write may fail.

    A file system that writes every block anew, as btrfs, may have no room for what
    was allocated; a mapped write would then end the process, and so would one to a
    server that is gone.

    Args:
        file: The file descriptor; it is duplicated.
    """

    def __init__(self, file: int) -> None:
        self._file = os.dup(file)

    def __getitem__(self, where: slice) -> bytes:
        """Return bytes; zeros where the file was cut, or cannot be read any more."""
        size, data = where.stop - where.start, b""
        with suppress(OSError):
            data = os.pread(self._file, size, where.start)
        return data.ljust(size, b"\0")

    def __setitem__(self, where: slice, data: bytes) -> None:
        if os.pwrite(self._file, data, where.start or 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_head(self, at: int, *head: int) -> None:
        self[at : at + HEAD_SIZE] = HEAD.pack(*head)

    def close(self) -> None:
        os.close(self._file)


def lock(file: int, path: str) -> bool:
    """Lock an open file until it is closed; return whether it still has its path.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return has_name(os.fstat(file), path)


def has_name(file: os.stat_result, path: str) -> bool:
    """Whether an open file has this path."""
    try:
        return os.path.samestat(os.stat(path), file)
    except FileNotFoundError:
        return False


def sync_file(path: str) -> None:
    """Write the kernel's copy of a file or folder to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
