"""Room on the disk that an outbox sets aside, to be drained even when that is full."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import suppress

from ..models.errors import OutboxError
from .disk_space import allocate

SIZE = 8 * 1024 * 1024
"""Bytes set aside. Half of them are for what stands in SQLite's log and has to fit into
the file before the log can be begun anew: it is checkpointed at 4 MiB. The other half
is for the log of claims and acks."""

SUFFIX = "-reserve"

SMALLEST = SIZE // 2
"""Bytes set aside on a small disk. One with less than twice as much left is full."""

LEAST = 2_000_000
"""Bytes that the disk has left beside them, else new events have no room."""

ROOM_INSIDE = 64
"""Free pages within a file that let it take events though its disk is full."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """A file beside the outbox's that takes up room until the disk is full.

    Claims and acks write too. While the file is there, new events may make the outbox
    grow; once the disk is full it is deleted, and its room is for delivery alone.

    Args:
        path: The outbox's file.
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}{SUFFIX}"
        self._folder = os.path.dirname(path)

    def room(self) -> int:
        """Return how many bytes are set aside, after setting them aside where it can.

        Raises:
            OSError: The folder takes no files.
        """
        with suppress(FileNotFoundError):
            return os.stat(self._path).st_size
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
        """Let the room be used."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def is_disk_full(self) -> bool:
        """Whether too little is left to set anything aside."""
        with suppress(FileNotFoundError):
            return self.disk_left() < 2 * SMALLEST
        return False

    def check(self, db: sqlite3.Connection) -> None:
        """See that new events have room.

        Raises:
            OutboxError: They wait until the disk has room.
        """
        if self.room() and self.disk_left() >= LEAST:
            return
        (free,) = db.execute("pragma freelist_count").fetchone()
        if free < ROOM_INSIDE:
            file = self._path.removesuffix(SUFFIX)
            raise OutboxError(f"{file}: its disk is full: make room on it")

    def disk_left(self) -> int:
        """Return how many bytes the disk has beside the reserve.

        Raises:
            FileNotFoundError: The outbox's folder is not there.
        """
        return shutil.disk_usage(self._folder).free
