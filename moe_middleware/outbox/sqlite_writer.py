"""The one thread that works on a SQLite outbox's file: what gathers is one commit."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakSet

from ..errors import OutboxError
from ..fork_hooks import register_fork_hooks
from .contract import MAX_UNSAVED, MAX_UNSAVED_BYTES, WhenFull
from .losses import LOG_EVERY, Losses
from .reserve import Reserve
from .sqlite_files import (
    FileIdentity,
    Synchronous,
    check_version,
    forget_side_files,
    identity_of,
    is_busy,
    is_corrupt,
    is_full,
    move,
    open_file,
    set_aside,
)

logger = logging.getLogger(__name__)

EXIT_TIMEOUT = 5.0
"""How long an exit waits for an outbox that nobody closed, in seconds."""

BUSY_PAUSE = 0.005
"""The pause between two tries of it, in seconds; a fork may happen then."""

GATHER_FOR = 0.005
"""How long appended events wait for company before they are committed, in seconds.

A commit costs as much for one event as for fifty, and a thread that is woken for each
of them takes the interpreter from the event loop."""

SIDE_FILES = ("-wal", "-shm")

REOPEN_AFTER = 1.0
"""The pause before a file that failed is tried again, in seconds."""

MAX_GROUP = 10_000
"""Events committed together at most, so that nobody waits long for a commit."""

MAX_GROUP_BYTES = 2_000_000
"""Their size together: half of the smallest reserve."""

PAGE = 4096
"""Bytes of a page of SQLite's."""

MAX_PAGES = 2**30 - 1
"""SQLite's own limit of a file's pages."""

ROOM_INSIDE = 64
"""Free pages within a file that let it take events though its disk is full."""

FORK_PATIENCE = 10.0
"""How long a fork waits for a transaction under way, in seconds."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Events on their way to the file, as JSON without the list's brackets."""

    events: bytes
    count: int


@dataclass(slots=True)
class Asked:
    """An operation for the writer thread, and where its result goes.

    Attributes:
        run: The operation, within a transaction.
        reads: Whether it only reads, and needs no lock.
        after_saving: Whether it fails where what was appended before cannot be saved.
        abandoned: What to run once nobody waits for the result any longer.
    """

    run: Callable[[sqlite3.Connection], Any]
    reads: bool = False
    after_saving: bool = False
    abandoned: Callable[[Any], None] | None = None
    done: Future[Any] = field(default_factory=Future)

    def settle(self, result: Any) -> None:
        # Whoever waited may have been cancelled meanwhile.
        if self.done.set_running_or_notify_cancel():
            self.done.set_result(result)
        elif self.abandoned is not None:
            self.abandoned(result)

    def fail(self, error: BaseException) -> None:
        if self.done.set_running_or_notify_cancel():
            self.done.set_exception(error)


class Save(Protocol):
    """Puts appended events into the file, within a transaction.

    Returns what could not be kept, to be counted once it is committed: how many were
    refused and how many were dropped.
    """

    def __call__(
        self, db: sqlite3.Connection, appended: Sequence[Appended]
    ) -> tuple[int, int]: ...


class _Line:
    """What waits for one writer thread, from its start to its close."""

    def __init__(self) -> None:
        self.appended: deque[Appended] = deque()
        self.asked: deque[Asked] = deque()
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.rung = False
        self.failing = False
        self.closing = False
        self.deadline = float("inf")
        self.thread: threading.Thread | None = None
        self.db: sqlite3.Connection | None = None
        self.max_pages = MAX_PAGES
        self.group_bytes = MAX_GROUP_BYTES
        self.opened: FileIdentity = None
        self.side_files: dict[str, FileIdentity] = {}
        self.nameless: sqlite3.Connection | None = None

    def ring(self) -> None:
        """Wake the thread; the lock is held."""
        if not self.rung:
            self.rung = True
            self.bell.put(None)


class Writer:
    """Takes work on any thread and does it on one of its own, started when needed.

    Args:
        path: The file.
        synchronous: SQLite's setting.
        busy_timeout: How long a transaction waits for another process's, in seconds.
        save: Puts appended events into the file.
        when_full: Whether the newest or the oldest gives way once too many events wait
            in memory.
        losses: Counts those.
    """

    def __init__(
        self,
        path: str,
        *,
        synchronous: Synchronous,
        busy_timeout: float,
        save: Save,
        when_full: WhenFull,
        losses: Losses,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._save = save
        self._when_full = when_full
        self._losses = losses
        self._reserve = Reserve(path)
        self.forget()
        _writers.add(self)

    def forget(self) -> None:
        """Start afresh: after a fork the thread and the file handle are the parent's,
        and so are the events that it has not saved yet."""
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._unsaved = 0
        self._unsaved_bytes = 0
        self._said_at = float("-inf")
        self._broken = False
        self._losses.forget()

    @property
    def nameless(self) -> list[sqlite3.Connection]:
        """The file that was deleted while it was open, until its events are moved."""
        held = self._line.nameless if self._line is not None else None
        return [] if held is None else [held]

    @property
    def unsaved(self) -> int:
        """How many events wait in memory."""
        return self._unsaved

    # --- any thread --------------------------------------------------------

    def append(self, item: Appended) -> None:
        """Have events saved; where too many wait already, count the loss instead."""
        dropped, reason = 0, "memory_full"
        with self._lock:
            full = self._no_room(item)
            if full and self._when_full == "drop_oldest":
                dropped = self._make_room(item)
                full = self._no_room(item)
            if not full:
                try:
                    line = self._open_line()
                except RuntimeError:
                    # The interpreter is ending, or the system has no more threads.
                    full, reason = True, "no_thread"
                else:
                    self._unsaved += item.count
                    self._unsaved_bytes += len(item.events)
                    line.appended.append(item)
                    if not line.failing:
                        line.ring()
        if dropped:
            self._losses.add("dropped", dropped, "memory_full")
        if full:
            self._losses.add("refused", item.count, reason)

    def ask(self, asked: Asked) -> None:
        """Have an operation done; its future brings the result."""
        with self._lock:
            line = self._open_line()
            line.asked.append(asked)
            line.ring()

    def close(self, timeout: float) -> None:
        """Have everything done and the file closed, within ``timeout`` seconds."""
        with self._lock:
            line, self._line = self._line, None
            if line is None or line.thread is None:
                return
            line.closing = True
            # Some of the time is kept to say what became of the events.
            line.deadline = time.monotonic() + timeout * 0.9
            line.ring()
        line.thread.join(timeout)
        if line.thread.is_alive() and self._unsaved:
            logger.error(
                "outbox_close_cut outbox=%s unsaved=%d timeout=%g",
                self._path,
                self._unsaved,
                timeout,
            )

    def _no_room(self, item: Appended) -> bool:
        return (
            self._unsaved + item.count > MAX_UNSAVED
            or self._unsaved_bytes + len(item.events) > MAX_UNSAVED_BYTES
        )

    def _make_room(self, item: Appended) -> int:
        dropped = 0
        waiting = self._line.appended if self._line else deque[Appended]()
        while waiting and self._no_room(item):
            oldest = waiting.popleft()
            self._settle([oldest])
            dropped += oldest.count
        return dropped

    def _settle(self, items: Sequence[Appended]) -> None:
        """Count no longer what was saved or given up; the lock is held."""
        self._unsaved -= sum(item.count for item in items)
        self._unsaved_bytes -= sum(len(item.events) for item in items)

    def _open_line(self) -> _Line:
        if self._line is None:
            line = _Line()
            line.thread = threading.Thread(
                target=self._work, args=(line,), name="moe-outbox", daemon=True
            )
            line.thread.start()
            self._line = line
        return self._line

    # --- the writer thread -------------------------------------------------

    def _work(self, line: _Line) -> None:
        while True:
            with suppress(queue.Empty):
                line.bell.get(timeout=REOPEN_AFTER if line.failing else None)
            if line.appended and not (line.asked or line.closing):
                time.sleep(GATHER_FOR)
            appended, asked = self._take(line)
            saved = self._do(line, appended, asked)
            with self._lock:
                line.failing = not saved
                if line.closing and not (line.asked or (line.appended and saved)):
                    break
        self._end(line)

    def _take(self, line: _Line) -> tuple[list[Appended], list[Asked]]:
        """Take a group; operations come after all that was appended before them."""
        appended: list[Appended] = []
        count = size = 0
        with self._lock:
            line.rung = False
            while line.appended and count < MAX_GROUP and size < line.group_bytes:
                item = line.appended.popleft()
                appended.append(item)
                count += item.count
                size += len(item.events)
            if line.appended:
                line.ring()
            # While nothing can be saved, a relay can still ack, and make room so.
            asked = [] if line.appended and not line.failing else list(line.asked)
            if asked:
                line.asked.clear()
        return appended, asked

    def _do(self, line: _Line, appended: list[Appended], asked: list[Asked]) -> bool:
        """Do a group in one transaction, else each by itself; say if it is saved."""
        if line.failing:
            # What only reads need not wait for what may fail again.
            for one in [one for one in asked if one.reads]:
                self._do_alone(line, one)
            asked = [one for one in asked if not one.reads]
        if not (appended or asked):
            return True
        later: list[Asked] = []
        if line.appended:
            # Some of what was appended before them is not even tried yet.
            later = [one for one in asked if one.after_saving]
            asked = [one for one in asked if not one.after_saving]
        error = self._transact(line, appended, asked)
        if error is None:
            self._succeeded()
            self._put_back(line, asked=later)
            return True
        if not appended and len(asked) == 1:
            asked[0].fail(_translated(self._path, error))
            return True
        saving = error if appended else None
        if appended and asked and not is_busy(error):
            saving = self._transact(line, appended, [])
        for one in asked:
            if saving is not None and one.after_saving:
                one.fail(_translated(self._path, saving))
            elif is_busy(error) and not one.reads:
                one.fail(_translated(self._path, error))
            else:
                self._do_alone(line, one)
        if saving is None:
            self._put_back(line, asked=later)
            return True
        for one in later:
            one.fail(_translated(self._path, saving))
        self._put_back(line, appended=appended)
        return False

    def _put_back(
        self,
        line: _Line,
        *,
        appended: Sequence[Appended] = (),
        asked: Sequence[Asked] = (),
    ) -> None:
        """Have a group done with the next one."""
        with self._lock:
            line.appended.extendleft(reversed(appended))
            line.asked.extendleft(reversed(asked))

    def _do_alone(self, line: _Line, one: Asked) -> None:
        if (error := self._transact(line, [], [one])) is not None:
            one.fail(_translated(self._path, error))

    def _transact(
        self, line: _Line, appended: list[Appended], asked: list[Asked]
    ) -> Exception | None:
        """Run one transaction; return why it failed."""
        began = time.monotonic()
        begun_anew = made_room = False
        while True:
            try:
                with _in_sqlite:
                    refused, dropped, results = self._attempt(line, appended, asked)
                break
            except Exception as error:
                deadline = min(began + self._busy_timeout, line.deadline)
                if is_busy(error) and time.monotonic() < deadline:
                    time.sleep(BUSY_PAUSE)
                elif is_corrupt(error) and not begun_anew:
                    begun_anew = True
                    self._begin_anew(line)
                elif self._lacks_room(error) and not made_room:
                    made_room = True
                    self._free_log(line, for_delivery=not appended)
                else:
                    if appended and made_room:
                        # Fewer may fit.
                        line.group_bytes = max(1, line.group_bytes // 2)
                    self._failed(line, error)
                    return error
        line.group_bytes = min(2 * line.group_bytes, MAX_GROUP_BYTES)
        with self._lock:
            self._settle(appended)
        if refused:
            self._losses.add("refused", refused, "outbox_full")
        if dropped:
            self._losses.add("dropped", dropped, "outbox_full")
        for one, result in zip(asked, results, strict=True):
            one.settle(result)
        return None

    def _attempt(
        self, line: _Line, appended: list[Appended], asked: list[Asked]
    ) -> tuple[int, int, list[Any]]:
        db = self._opened_file(line)
        reads = not appended and all(one.reads for one in asked)
        self._limit_pages(line, db, self._max_pages(appended))
        db.execute("begin" if reads else "begin immediate")
        try:
            check_version(db, self._path)
            lost = self._save(db, appended) if appended else (0, 0)
            results = [one.run(db) for one in asked]
            db.commit()
        except BaseException:
            db.rollback()
            raise
        return *lost, results

    def _opened_file(self, line: _Line) -> sqlite3.Connection:
        """Return the file's handle; open it anew where another file has its name."""
        if line.db is not None and identity_of(self._path) != line.opened:
            line.nameless, line.db = line.db, None
            forget_side_files(self._path, line.side_files)
        if line.db is None:
            # Before it is opened, too: it may be corrupt and never open.
            line.opened = identity_of(self._path)
            line.db = open_file(self._path, synchronous=self._synchronous)
            line.max_pages = MAX_PAGES
            line.opened = identity_of(self._path)
            _opened.add(line)
            line.side_files = {
                suffix: identity_of(self._path + suffix) for suffix in SIDE_FILES
            }
        if line.nameless is not None:
            self._move_on(line, line.nameless, line.db)
        return line.db

    def _move_on(
        self, line: _Line, old: sqlite3.Connection, new: sqlite3.Connection
    ) -> None:
        """Move what a deleted or renamed file still holds, as long as it is open."""
        try:
            moved: int | str = move(old, new)
        except sqlite3.Error as error:
            if is_busy(error) or self._lacks_room(error):
                raise
            moved = f"failed ({error})"
        line.nameless = None
        old.close()
        logger.warning("outbox_replaced outbox=%s moved=%s", self._path, moved)

    def _max_pages(self, appended: list[Appended]) -> int:
        """Return how large the file may become: half of the reserve larger by events.

        What is in the log and does not fit into the file keeps the log from being begun
        anew, and on a full disk no ack could be written any more.
        """
        if not appended:
            return MAX_PAGES
        size = sum(len(item.events) for item in appended)
        room = self._reserve.room() // 2
        if room and size > room:
            # One append of very many events, which cannot be cut.
            room = self._reserve.disk_left() // 4
        return (os.path.getsize(self._path) + room) // PAGE

    def _limit_pages(self, line: _Line, db: sqlite3.Connection, most: int) -> None:
        if line.max_pages != most:
            line.max_pages = most
            db.execute(f"pragma max_page_count = {most}")

    def check_room(self, db: sqlite3.Connection) -> None:
        """See that new events have room.

        Raises:
            OutboxError: They wait in memory until the disk has room.
        """
        if self._reserve.room() and self._reserve.disk_left() >= MAX_GROUP_BYTES:
            return
        (free,) = db.execute("pragma freelist_count").fetchone()
        if free < ROOM_INSIDE:
            raise OutboxError(f"{self._path}: its disk is full: make room on it")

    def _lacks_room(self, error: Exception) -> bool:
        # To open a file takes room too, and the error is then of another kind.
        is_other = isinstance(error, sqlite3.OperationalError) and not is_busy(error)
        return is_full(error) or (is_other and self._reserve.is_disk_full())

    def _free_log(self, line: _Line, *, for_delivery: bool) -> None:
        """Have the log begun anew; give claims and acks the room that was set aside."""
        with _in_sqlite:
            if for_delivery:
                self._reserve.give_back()
            _rewind_log(line)

    def _begin_anew(self, line: _Line) -> None:
        """Set a corrupt file aside, so that the next try makes a new one."""
        with _in_sqlite:
            _close(line)
            try:
                set_aside(self._path, corrupt=line.opened)
            except OSError as error:
                logger.error(
                    "outbox_corrupt outbox=%s: it cannot be renamed: %s",
                    self._path,
                    error.strerror,
                )

    def _succeeded(self) -> None:
        if self._broken:
            self._broken = False
            logger.warning("outbox_recovered outbox=%s", self._path)

    def _failed(self, line: _Line, error: Exception) -> None:
        if not isinstance(error, sqlite3.Error | OutboxError):
            # An operation's own mistake; the file is fine.
            return
        with _in_sqlite:
            if not (is_full(error) or is_busy(error)):
                _close(line)
        now = time.monotonic()
        if now - self._said_at < LOG_EVERY:
            return
        # What is not logged is no news when it ends, either.
        self._said_at, self._broken = now, True
        if self._lacks_room(error):
            logger.error(
                "outbox_disk_full outbox=%s unsaved=%d: make room on its disk; what it "
                "holds is delivered meanwhile, and new events wait in memory",
                self._path,
                self._unsaved,
            )
        else:
            logger.error(
                "outbox_failed outbox=%s unsaved=%d error=%s: events wait in memory "
                "until it can be written, see events.outbox",
                self._path,
                self._unsaved,
                error,
            )

    def _end(self, line: _Line) -> None:
        with _in_sqlite:
            _close(line)
            left_behind = _left_behind(line)
        with self._lock:
            left = list(line.appended)
            line.appended.clear()
            self._settle(left)
        if lost := left_behind + sum(item.count for item in left):
            self._losses.add("lost", lost, "outbox_unwritable")


def _rewind_log(line: _Line) -> None:
    """Have the log begun from its start: acks then need no room on a full disk."""
    if line.db is not None:
        with suppress(sqlite3.Error):
            line.db.execute("pragma wal_checkpoint(restart)")


def _close(line: _Line) -> None:
    db, line.db = line.db, None
    if db is not None:
        _opened.discard(line)
        with suppress(sqlite3.Error):
            db.close()


def _left_behind(line: _Line) -> int:
    """Return how many events stand in a deleted file that no other has replaced."""
    old, line.nameless = line.nameless, None
    if old is None:
        return 0
    with suppress(sqlite3.Error), closing(old):
        (left,) = old.execute("select waiting from state").fetchone()
        return int(left)
    return 0


def _translated(path: str, error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    translated = OutboxError(f"{path}: {error}")
    translated.__cause__ = error
    return translated


# --- the process -----------------------------------------------------------

_writers: WeakSet[Writer] = WeakSet()

_in_sqlite = threading.Lock()
"""Held within SQLite. A fork waits for it: in a child that begins while another thread
holds one of SQLite's own locks, nobody would ever let go of it."""

_opened: set[_Line] = set()

_forking = threading.local()


def _before_fork() -> None:
    """Close every file: a child of ours that found one open would believe that it had
    our locks, and see its events deleted with our log. It is opened anew when needed.
    """
    _forking.held = _in_sqlite.acquire(timeout=FORK_PATIENCE)
    if _forking.held:
        for line in list(_opened):
            _close(line)


def _after_fork_in_parent() -> None:
    if _forking.held:
        _in_sqlite.release()


def _after_fork_in_child() -> None:
    global _in_sqlite
    _in_sqlite = threading.Lock()
    # Where the fork did not wait: never closed, for that lets go of the parent's locks.
    _inherited.extend(line.db for line in _opened if line.db is not None)
    _opened.clear()
    for writer in list(_writers):
        _inherited.extend(writer.nameless)
        writer.forget()


_inherited: list[sqlite3.Connection] = []


register_fork_hooks(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


@atexit.register
def _close_all() -> None:
    """Save what a script leaves behind that never closed its outbox."""
    for writer in list(_writers):
        writer.close(EXIT_TIMEOUT)
