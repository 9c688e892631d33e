"""Journals in files, which outlive their process.

A segment is a file that is mapped into memory: the kernel has every write at once,
without a system call, and keeps it however the process ends. The process holds a lock
on the file, which ends with it; then another process takes the journal over.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from weakref import WeakSet

from ..concurrency.fork_hooks import register_fork_hooks
from .disk_space import is_remote_or_copied
from .journal import Journal
from .journal_records import MAGIC, Record, records_in
from .journal_segments import HAS_LOCKS, SEGMENT_SIZE, FileSegment, Segment, lock

logger = logging.getLogger(__name__)

LEAST_LEFT = 8_000_000
"""Bytes that a journal leaves free on the disk when it grows: deliveries, which make
room there, need some themselves."""

TRY_FILES_AGAIN_AFTER = 10.0
"""Seconds until another file is tried after one could not be created."""


def workspace_mark(workspace_id: str) -> str:
    """Return the mark of a workspace in files and their names; empty for none."""
    if not workspace_id:
        return ""
    return blake2b(workspace_id.encode(), digest_size=4).hexdigest()


def workspace_of(journal: str) -> str:
    """Return the mark of the workspace in a journal's name; empty for none."""
    return journal.rpartition("-")[0]


class JournalFiles:
    """The journals of one outbox on this host, one for each process.

    Args:
        outbox: The prefix of their paths.
        workspace_id: The workspace of their events. Journals of another one are not
            taken over; those without one are, as older versions wrote them.

    Attributes:
        workspace: The workspace's mark.
    """

    def __init__(self, outbox: str, workspace_id: str = "") -> None:
        self._prefix = f"{outbox}.journal-"
        self.workspace = workspace_mark(workspace_id)
        self._failed_at = float("-inf")
        self._is_logged = False
        self._unreadable: set[str] = set()

    def new(self, most: int) -> Journal:
        """Return a new journal. Its file is created at the first record.

        Args:
            most: The most events that wait in it.
        """
        name = secrets.token_hex(8)
        if self.workspace:
            name = f"{self.workspace}-{name}"
        number = 0

        def new_segment(size: int, error: OSError | None = None) -> Segment:
            nonlocal number
            number += 1
            return self._new_segment(f"{self._prefix}{name}.{number}", size, error)

        return Journal(name, most, new_segment)

    def _new_segment(self, path: str, size: int, error: OSError | None) -> Segment:
        if not HAS_LOCKS:  # pragma: no cover - Windows
            return Segment(size)
        if error is not None:
            self._fail(path, error)
        if time.monotonic() - self._failed_at >= TRY_FILES_AGAIN_AFTER:
            try:
                self._check_room(size)
                is_mapped = not is_remote_or_copied(path)
                segment = FileSegment(path, size, is_mapped=is_mapped)
            except OSError as failed:
                self._fail(path, failed)
            else:
                self._is_logged = False
                return segment
        return Segment(size, until=self._failed_at + TRY_FILES_AGAIN_AFTER)

    def _fail(self, path: str, error: OSError) -> None:
        """Create no files for a while, as one could not be created or written."""
        self._failed_at = time.monotonic()
        if not self._is_logged:
            self._is_logged = True
            logger.warning(
                "journal_unavailable journal=%s error=%s: events that are not stored "
                "yet are lost if this process is killed; its folder must be writable "
                "and have room",
                path,
                error.strerror or error,
            )

    def _check_room(self, size: int) -> None:
        """Check that a growing journal leaves space on its disk.

        Raises:
            OSError: It would not.
        """
        if size > SEGMENT_SIZE:
            left = shutil.disk_usage(os.path.dirname(self._prefix)).free - size
            if left < LEAST_LEFT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def names(self) -> list[str]:
        """Return the names of all journals, of running and of ended processes."""
        return [*self._paths()]

    def abandoned(self) -> Generator[AbandonedJournal]:
        """Yield the journals of ended processes; each is locked meanwhile."""
        if not HAS_LOCKS:  # pragma: no cover - Windows
            return
        for name, paths in self._paths().items():
            if self.workspace and workspace_of(name) not in ("", self.workspace):
                continue
            try:
                journal = AbandonedJournal(name, paths)
            except BlockingIOError:
                continue  # its process runs, or another takes it over
            except OSError as error:
                self.log_unreadable(name, error)
                continue
            _held.add(journal)
            try:
                yield journal
            finally:
                journal.release()

    def log_unreadable(self, name: str, error: OSError) -> None:
        """Log once that a journal cannot be taken over, with advice."""
        if name not in self._unreadable:
            self._unreadable.add(name)
            logger.warning(
                "journal_unreadable journal=%s%s error=%s: its process has ended "
                "before it stored these events; one of the same user and version "
                "stores them",
                self._prefix,
                name,
                error.strerror or error,
            )

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
    """A journal of an ended process, locked by this one.

    Args:
        name: The journal's name.
        paths: Its files.

    Raises:
        BlockingIOError: Its process is running, or another one has taken it over.
        OSError: A file cannot be read.
    """

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        self.name = name
        self._files: list[tuple[str, int]] = []
        try:
            for path in paths:
                self._open(path)
            firsts = [
                (next(self._records_in(file), None), file) for _, file in self._files
            ]
            # Reused segments are not in the order of the numbers in their names.
            self._in_order = [
                file for first, file in sorted(one for one in firsts if one[0])
            ]
        except BaseException:
            self.release()
            raise

    def records(self) -> Iterator[Record]:
        """Yield its records, in order, with one file at a time in memory.

        A process that was killed during an append leaves an incomplete record, which is
        skipped.
        """
        for file in self._in_order:
            yield from self._records_in(file)

    def _records_in(self, file: int) -> Iterator[Record]:
        data = os.pread(file, os.fstat(file).st_size, 0)
        if not MAGIC.startswith(data[: len(MAGIC)].rstrip(b"\0")):
            raise OSError(0, "another version wrote it: upgrade this one")
        yield from records_in(data)

    def delete(self) -> None:
        """Delete the files; their records are stored."""
        for path, _ in self._files:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def release(self) -> None:
        """Close the files."""
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
    """Close the parent's locked files in a forked child, as the locks are shared."""
    for journal in list(_held):
        journal.release()


register_fork_hooks(after_in_child=_release_all)
