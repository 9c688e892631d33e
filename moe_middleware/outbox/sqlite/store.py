"""A SQLite file as a store: a batch and operations are one transaction.

Longer than 350 lines: one file, from its opening to the forks of its process.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from weakref import WeakSet

from ...concurrency.fork_hooks import register_fork_hooks
from ...models.errors import OutboxError
from ..contract import Synchronous
from ..journal_files import workspace_of
from ..reserve import Reserve
from ..store_contract import Batch, Operation, Outcome
from .files import (
    FileIdentity,
    OutboxFile,
    check_version,
    claim_for,
    create,
    identity_of,
    is_busy,
    is_corrupt,
    is_forbidden,
    is_full,
    open_file,
    set_aside,
)
from .moves import forget_side_files, move, on_disk_of, side_files

logger = logging.getLogger(__name__)

BUSY_PAUSE = 0.005
"""Seconds between two tries of a locked file; the process may fork in between."""

MAX_BATCH_BYTES = 2_000_000
"""The most bytes of events in one transaction: half of the smallest reserve."""

PAGE = 4096
"""Bytes of a page of the file."""

MAX_PAGES = 2**30 - 1
"""SQLite's limit of a file's pages."""

FORK_PATIENCE = 10.0
"""Seconds that a fork waits at most for the running transaction."""

Save = Callable[[sqlite3.Connection, Batch], Outcome]
"""Stores a batch within a transaction."""


class SQLiteStore:
    """An outbox's file. An operation's work takes the open connection.

    Args:
        path: The file.
        workspace: The mark of the events' workspace.
        synchronous: SQLite's setting.
        busy_timeout: Seconds that a transaction waits for another process's.
        save: Stores a batch.
        reserve: The reserved disk space.
    """

    batch_bytes = MAX_BATCH_BYTES
    comes_back = False

    def __init__(
        self,
        path: str,
        *,
        workspace: str,
        synchronous: Synchronous,
        busy_timeout: float,
        save: Save,
        reserve: Reserve,
    ) -> None:
        self.deadline = float("inf")
        self._path = path
        self._workspace = workspace
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._save = save
        self._reserve = reserve
        self._db: OutboxFile | None = None
        self._max_pages = MAX_PAGES
        self._is_full = False
        self._opened: FileIdentity = None
        # The file of the last claims, and how many there were before it.
        self._claimed_in: FileIdentity = None
        self._number = 0
        self._side_files: dict[str, FileIdentity] = {}
        # A file that was deleted or renamed while open, until its events are moved.
        self._nameless: sqlite3.Connection | None = None
        _stores.add(self)

    def do(self, batch: Batch | None, operations: Sequence[Operation]) -> Outcome:
        """Do all in one transaction; if that fails, the batch and each operation."""
        if batch is not None and self._is_full:
            return self._do_on_full_disk(batch, operations)
        outcome = self._transact(batch, operations)
        error = outcome.error
        if error is None:
            return outcome
        if batch is None and len(operations) == 1:
            is_own_mistake = not isinstance(error, sqlite3.Error | OutboxError)
            error = self._translated(error)
            return Outcome(results=[error], error=None if is_own_mistake else error)
        if batch is not None and self._lacks_room(error):
            self._is_full = True
            return self._do_on_full_disk(batch, operations)
        unsaved = error if batch is not None else None
        if batch is not None and operations and not is_busy(error):
            outcome = self._transact(batch, ())
            unsaved = outcome.error
        outcome.results = results = []
        outcome.error = None
        for one in operations:
            if unsaved is not None and one.after_saving:
                results.append(self._translated(unsaved))
            # Each would wait for the same lock again.
            elif is_busy(error) and not one.reads:
                results.append(self._translated(error))
            else:
                alone = self.do(None, [one])
                results += alone.results
                outcome.error = alone.error or outcome.error
        if unsaved is not None:
            outcome.error = self._translated(unsaved)
        return outcome

    def _do_on_full_disk(
        self, batch: Batch, operations: Sequence[Operation]
    ) -> Outcome:
        """Do each operation, which may make room; then store what has room."""
        early = iter(
            [self.do(None, [one]) for one in operations if not one.after_saving]
        )
        outcome = self._save_in_parts(batch)
        outcome.results = [
            next(early).results[0]
            if not one.after_saving
            else outcome.error or self.do(None, [one]).results[0]
            for one in operations
        ]
        return outcome

    def _save_in_parts(self, batch: Batch) -> Outcome:
        """Store as many of a batch's records as there is room for."""
        records, size, grows = batch.records, 1, True
        total = Outcome()
        while records:
            part = self._transact(Batch(batch.journal, records[:size]), ())
            if part.error is None:
                records = records[size:]
                total.add(part)
                size = 2 * size if grows else size
            # There may be room for fewer: acks have freed pages.
            elif size > 1 and self._lacks_room(part.error):
                size, grows = size // 2, False
            else:
                total.error = self._translated(part.error)
                return total
        self._is_full = False
        return total

    def log_failure(self, error: Exception, unsaved: int) -> None:
        """Log why the file cannot be written, and what to do."""
        if self._lacks_room(error.__cause__ or error):
            logger.error(
                "outbox_disk_full outbox=%s unsaved=%d: make room on its disk; what it "
                "holds is delivered meanwhile, and new events wait",
                self._path,
                unsaved,
            )
        else:
            logger.error(
                "outbox_failed outbox=%s unsaved=%d error=%s: events wait "
                "until it can be written, see events.outbox",
                self._path,
                unsaved,
                error.__cause__ or error,
            )

    def close(self) -> int:
        """Close the file; return how many events are lost with a deleted file."""
        with _in_sqlite:
            self._close()
            old, self._nameless = self._nameless, None
            if old is None:
                return 0
            with suppress(sqlite3.Error), closing(old):
                (left,) = old.execute("select waiting from state").fetchone()
                return int(left)
        return 0

    def _transact(
        self, batch: Batch | None, operations: Sequence[Operation]
    ) -> Outcome:
        """Run one transaction; a failure is the outcome's error."""
        began = time.monotonic()
        begun_anew = made_room = False
        while True:
            try:
                with _in_sqlite:
                    outcome = self._attempt(batch, operations)
                break
            except Exception as error:
                deadline = min(began + self._busy_timeout, self.deadline)
                if is_busy(error) and time.monotonic() < deadline:
                    time.sleep(BUSY_PAUSE)
                elif is_corrupt(error) and not begun_anew:
                    begun_anew = True
                    self._begin_anew()
                elif self._lacks_room(error) and not made_room:
                    made_room = True
                    self._free_log(for_delivery=batch is None)
                else:
                    self._let_go_after(error)
                    return Outcome(error=error)
        return outcome

    def _attempt(self, batch: Batch | None, operations: Sequence[Operation]) -> Outcome:
        db = self._opened_file()
        reads = batch is None and all(one.reads for one in operations)
        self._limit_pages(db, self._pages_for(batch))
        db.execute("begin" if reads else "begin immediate")
        try:
            check_version(db, self._path)
            if not reads:
                taken_over = workspace_of(batch.journal) if batch is not None else ""
                claim_for(db, taken_over or self._workspace, self._path)
            outcome = self._save(db, batch) if batch is not None else Outcome()
            outcome.results = [one.work and one.work(db) for one in operations]
            db.commit()
        except BaseException:
            db.rollback()
            raise
        return outcome

    # --- file --------------------------------------------------------------

    def _opened_file(self) -> OutboxFile:
        """Return the open file; if another file has its path now, open that one."""
        if self._db is not None and identity_of(self._path) != self._opened:
            self._nameless, self._db = self._db, None
            forget_side_files(self._path, self._side_files)
        if self._db is None:
            self._db = self._open()
        if self._nameless is not None:
            self._move_on(self._nameless, self._db)
        return self._db

    def _open(self) -> OutboxFile:
        """Open the file, and note which one it is."""
        while True:
            create(self._path)
            # Before it is opened, which fails if it is corrupt.
            self._opened = identity_of(self._path)
            before = side_files(self._path)
            db = open_file(self._path, synchronous=self._synchronous)
            self._side_files = side_files(self._path)
            if identity_of(self._path) == self._opened:
                break
            # Another file got the path meanwhile. On another disk it has its own log.
            db.close()
            new = self._side_files.items() - before.items()
            forget_side_files(self._path, on_disk_of(self._opened, dict(new)))
        if self._claimed_in not in (None, self._opened):
            self._number += 1
        self._claimed_in = self._opened
        db.number = self._number
        self._max_pages = MAX_PAGES
        return db

    def _move_on(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        """Move the events of a deleted or renamed file, while it is open."""
        try:
            moved: int | str = move(old, new, self._path)
        except sqlite3.Error as error:
            if is_busy(error) or self._lacks_room(error):
                raise
            moved = f"failed ({error})"
        self._nameless = None
        old.close()
        logger.warning("outbox_replaced outbox=%s moved=%s", self._path, moved)

    def _begin_anew(self) -> None:
        """Set a corrupt file aside, so that the next attempt creates a new one."""
        with _in_sqlite:
            self._close()
            try:
                set_aside(self._path, corrupt=self._opened)
            except OSError as error:
                logger.error(
                    "outbox_corrupt outbox=%s: it cannot be renamed: %s",
                    self._path,
                    error.strerror,
                )

    def _let_go_after(self, error: Exception) -> None:
        """Close the file after an error, unless it is only locked or full."""
        if isinstance(error, sqlite3.Error | OutboxError) and not (
            is_full(error) or is_busy(error)
        ):
            with _in_sqlite:
                self._close()

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    # --- disk --------------------------------------------------------------

    def _pages_for(self, batch: Batch | None) -> int:
        """Return the most pages of the file."""
        if batch is None:
            return MAX_PAGES
        size = sum(len(record.body) for record in batch.records)
        return (os.path.getsize(self._path) + self._reserve.room_for(size)) // PAGE

    def _limit_pages(self, db: sqlite3.Connection, most: int) -> None:
        if self._max_pages != most:
            self._max_pages = most
            db.execute(f"pragma max_page_count = {most}")

    def _lacks_room(self, error: BaseException) -> bool:
        # Opening a file needs space, too, and fails with another error.
        is_other = isinstance(error, sqlite3.OperationalError) and not is_busy(error)
        return is_full(error) or (is_other and self._reserve.is_disk_full())

    def _free_log(self, *, for_delivery: bool) -> None:
        """Start the log anew, so that acks need no space on a full disk.

        Args:
            for_delivery: Whether to free the reserve, too, for claims and acks.
        """
        with _in_sqlite:
            if for_delivery:
                self._reserve.give_back()
            if self._db is not None:
                with suppress(sqlite3.Error):
                    self._db.execute("pragma wal_checkpoint(restart)")

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        forbidden = is_forbidden(error, self._path)
        advice = ": this user must be able to write it and its folder"
        translated = OutboxError(
            f"{self._path}: {error}{advice if forbidden else ''}", may_end=not forbidden
        )
        translated.__cause__ = error
        return translated


# --- forks -----------------------------------------------------------------

_stores: WeakSet[SQLiteStore] = WeakSet()

_in_sqlite = threading.Lock()
"""Held while SQLite runs. A fork waits for it: a lock of SQLite's that another thread
holds during the fork would never be released in the child."""

_forking = threading.local()


def _before_fork() -> None:
    """Close every file, which is opened again when needed.

    SQLite in a child would believe that it held the parent's locks on an open file, and
    its events would be deleted with the parent's log.
    """
    _forking.held = _in_sqlite.acquire(timeout=FORK_PATIENCE)
    if _forking.held:
        for store in list(_stores):
            store._close()


def _after_fork_in_parent() -> None:
    if _forking.held:
        _in_sqlite.release()


def _after_fork_in_child() -> None:
    global _in_sqlite
    _in_sqlite = threading.Lock()
    # These stores belong to the parent.
    _stores.clear()


register_fork_hooks(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
