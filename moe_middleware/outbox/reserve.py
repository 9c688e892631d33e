"""Disk space that an outbox reserves, so that a full disk does not stop deliveries."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import suppress

from ..models.errors import OutboxError
from .disk_space import allocate

SIZE = 8 * 1024 * 1024
"""Bytes reserved. One half is for the content of SQLite's log, which must fit into the
file before the log can start anew: it is checkpointed at 4 MiB. The other half is for
the log of claims and acks."""

SUFFIX = "-reserve"

SMALLEST = SIZE // 2
"""Bytes reserved on a small disk. New events leave as much free on one that has no
room for twice as much, and so no reserve."""

LEAST = 2_000_000
"""Bytes that must be free for new events, else the outbox is not writable."""

ROOM_INSIDE = 64
"""Free pages within a file that suffice for new events although its disk is full."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """A file beside the outbox's that occupies disk space until the disk is full.

    Claims and acks write, too. While the file exists, new events may make the outbox
    grow; when the disk is full it is deleted, and only deliveries use its space.

    Args:
        path: The outbox's file.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}{SUFFIX}"
        self._folder = os.path.dirname(path)

    def room_for(self, size: int) -> int:
        """Return the bytes by which the outbox may grow for events of this size.

        If the content of SQLite's log did not fit into the file, the log could not
        start anew, and on a full disk no ack could be written.

        Raises:
            OSError: The folder is not writable.
        """
        half = self.room() // 2
        # One append of very many events cannot be split.
        return half if half >= size else self._left_for_events() // 4

    def room(self) -> int:
        """Return the reserved bytes, after reserving them if possible.

        Raises:
            OSError: The folder is not writable.
        """
        with suppress(FileNotFoundError):
            reserved = os.stat(self._path).st_size
            # A process that was killed before it had allocated it leaves less.
            if reserved >= SMALLEST:
                return reserved
        size = min(SIZE, self.disk_left() // 2)
        if size < SMALLEST:
            return 0
        file = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o666)
        try:
            allocate(file, size)
        except OSError as error:
            os.unlink(self._path)
            if error.errno in _FULL:
                return 0
            raise
        finally:
            os.close(file)
        return size

    def give_back(self) -> None:
        """Free the reserved space."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def is_disk_full(self) -> bool:
        """Whether too little is free to reserve anything."""
        with suppress(FileNotFoundError):
            return self.disk_left() < 2 * SMALLEST
        return False

    def check(self, db: sqlite3.Connection) -> None:
        """Check that there is space for new events.

        Raises:
            OutboxError: There is none.
        """
        self.room()
        if self._left_for_events() >= LEAST:
            return
        (free,) = db.execute("pragma freelist_count").fetchone()
        if free < ROOM_INSIDE:
            file = self._path.removesuffix(SUFFIX)
            raise OutboxError(f"{file}: its disk is full: make room on it")

    def _left_for_events(self) -> int:
        kept = 0 if os.path.exists(self._path) else SMALLEST
        return max(0, self.disk_left() - kept)

    def disk_left(self) -> int:
        """Return the disk's free bytes, without the reserve.

        Raises:
            FileNotFoundError: The outbox's folder does not exist.
        """
        return shutil.disk_usage(self._folder).free
