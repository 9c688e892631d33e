"""Journals in files that the kernel keeps: a process that dies leaves its events there.

A segment is a file that is mapped into memory: what is written there belongs to the
kernel at once, without a system call, and stays however the process ends. Its owner
holds a lock on it that the kernel releases then, so that another process takes it over.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet
from zlib import crc32 as checksum

from ..concurrency.fork_hooks import register_fork_hooks
from .disk_space import allocate
from .journal import (
    HEAD,
    HEAD_SIZE,
    Journal,
    Record,
    Segment,
)

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

logger = logging.getLogger(__name__)

MAGIC = b"moe-journal 1\0\0\n"
"""A segment begins with it; a later version would have another."""

TRY_FILES_AGAIN_AFTER = 10.0
"""How long events wait in memory alone after a file could not be made, in seconds."""


class FileSegment(Segment):
    """A segment in a file.

    Args:
        path: The new file.
        size: Its size, in bytes. All of it is allocated: a full disk is found here, and
            not by a write into the memory, which would end the process.

    Raises:
        OSError: It cannot be made.
    """

    start = len(MAGIC)

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = self.start + size
        self.next = self.end = self.start
        self.live = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not lock(self._file, path):
                raise FileExistsError(path)
            allocate(self._file, self.size)
            self._map = mmap.mmap(self._file, self.size)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(self._file)
            raise
        self._map[: self.start] = MAGIC
        self.buffer = self._map

    def outlives(self) -> bool:
        """Whether the file still has its name."""
        return has_name(self._file, self.path)

    def is_replaceable(self) -> bool:
        """Whether the file was deleted."""
        return not self.outlives()

    def delete(self) -> None:
        """Give the memory and the disk back."""
        if self.outlives():
            with suppress(OSError):
                os.unlink(self.path)
        self.leave()

    def leave(self) -> None:
        """Let go of the file, so that another process can take it over."""
        self._map.close()
        os.close(self._file)


class JournalFiles:
    """The journals of one outbox on this host, each of one process.

    Args:
        outbox: What the paths of all of them begin with.
    """

    def __init__(self, outbox: str) -> None:
        self._prefix = f"{outbox}.journal-"
        self._failed_at = float("-inf")
        self._is_logged = False
        self._unreadable: set[str] = set()

    def new(self) -> Journal:
        """Return a journal of this process's own. Its first record makes its file."""
        name = secrets.token_hex(8)
        number = 0

        def new_segment(size: int) -> Segment:
            nonlocal number
            number += 1
            return self._new_segment(f"{self._prefix}{name}.{number}", size)

        return Journal(name, new_segment)

    def _new_segment(self, path: str, size: int) -> Segment:
        if not HAS_LOCKS:  # pragma: no cover - Windows
            return Segment(size)
        if time.monotonic() - self._failed_at >= TRY_FILES_AGAIN_AFTER:
            try:
                segment = FileSegment(path, size)
            except OSError as error:
                self._failed_at = time.monotonic()
                if not self._is_logged:
                    self._is_logged = True
                    logger.warning(
                        "journal_unavailable journal=%s error=%s: events that are not "
                        "stored yet are lost if this process is killed; its folder "
                        "must be writable and have room",
                        path,
                        error.strerror or error,
                    )
            else:
                self._is_logged = False
                return segment
        return Segment(size, until=self._failed_at + TRY_FILES_AGAIN_AFTER)

    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._paths())

    def names(self) -> list[str]:
        """Return the names of all journals, of processes that run and that are gone."""
        return [*self._paths()]

    def abandoned(self) -> Generator[AbandonedJournal]:
        """Yield the journals of processes that are gone; each is locked meanwhile."""
        if not HAS_LOCKS:  # pragma: no cover - Windows
            return
        for name, paths in self._paths().items():
            try:
                journal = AbandonedJournal(name, paths)
            except BlockingIOError:
                continue  # its process runs, or another takes it over
            except OSError as error:
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    logger.warning(
                        "journal_unreadable journal=%s error=%s: its process has ended "
                        "before it stored these events; one of the same user and "
                        "version stores them",
                        paths[0],
                        error.strerror or error,
                    )
                continue
            _held.add(journal)
            try:
                yield journal
            finally:
                journal.release()

    def _paths(self) -> dict[str, list[str]]:
        """Return the files of each journal, by its name."""
        folder, start = os.path.split(self._prefix)
        found: dict[str, list[str]] = {}
        with suppress(OSError):
            for file in sorted(os.listdir(folder)):
                if file.startswith(start):
                    name, dot, number = file.removeprefix(start).partition(".")
                    if dot and number.isdecimal():
                        path = os.path.join(folder, file)
                        found.setdefault(name, []).append(path)
        return found


class AbandonedJournal:
    """A journal whose process is gone; this one holds its lock.

    Args:
        name: The journal's name.
        paths: Its files.

    Attributes:
        records: Its whole records, in order. A process that died within an append has
            left a torn one, which is no record.

    Raises:
        BlockingIOError: Its process runs, or another has taken it over.
        OSError: A file cannot be read.
    """

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        self.name = name
        self._files: list[tuple[str, int]] = []
        try:
            for path in paths:
                self._open(path)
            self.records = self._read()
        except BaseException:
            self.release()
            raise

    def _read(self) -> list[Record]:
        found: list[Record] = []
        for path, _ in self._files:
            data = Path(path).read_bytes()
            if not MAGIC.startswith(data[: len(MAGIC)].rstrip(b"\0")):
                raise OSError(0, "another version wrote it: upgrade this one")
            found += records_in(data)
        return sorted(found)

    def delete(self) -> None:
        """Delete the files; their records are stored."""
        for path, _ in self._files:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def release(self) -> None:
        """Let go of the files."""
        for _, file in self._files:
            os.close(file)
        self._files = []

    def _open(self, path: str) -> None:
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            is_there = lock(file, path)
        except BaseException:
            os.close(file)
            raise
        if is_there:
            self._files.append((path, file))
        else:
            os.close(file)


_held: WeakSet[AbandonedJournal] = WeakSet()


def _release_all() -> None:
    """Let go, in a forked child, of what its parent takes over: locks are shared."""
    for journal in list(_held):
        journal.release()


register_fork_hooks(after_in_child=_release_all)


def records_in(data: bytes) -> Iterator[Record]:
    """Yield the records of a segment's bytes, up to the first that is not whole.

    Sequence numbers have no gap in a segment: a lower one is what is left over from
    the segment's last use.
    """
    if not data.startswith(MAGIC):
        return
    at, expected = len(MAGIC), None
    while at + HEAD_SIZE <= len(data):
        size, events, sequence, found = HEAD.unpack_from(data, at)
        start, at = at + HEAD_SIZE, at + HEAD_SIZE + size
        body = data[start:at]
        is_whole = 0 < size == len(body) and found == checksum(body, sequence)
        if not is_whole or sequence != (expected or sequence):
            return
        expected = sequence + 1
        yield Record(sequence, events, body)


def lock(file: int, path: str) -> bool:
    """Lock an open file until it is closed; return whether it still has its name.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return has_name(file, path)


def has_name(file: int, path: str) -> bool:
    """Return whether a path is that of an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
