"""The ledger in an SQLite file, for all processes of a host."""

from __future__ import annotations

import asyncio
import math
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ...concurrency.fork_hooks import begin_in_children
from ...models.ids import new_id
from .shared import SEEN_EVERY, SEEN_FOR, LedgerError
from .window import Order, Spent, Window

OPENING_TIMEOUT = 1.0
"""Seconds to wait for the file while other processes create it, too."""

MAX_GROUP = 1_000
"""Orders settled together at most."""

CREATE = """
create table if not exists moe_budget_window (
    name text primary key,
    state text not null
) without rowid;
create table if not exists moe_budget_user (
    name text not null,
    user text not null,
    seen_at real not null,
    primary key (name, user)
) without rowid;
"""
READ = "select state from moe_budget_window where name = :name"
WRITE = """
insert into moe_budget_window values (:name, :state)
on conflict (name) do update set state = excluded.state
"""
SEEN = """
insert into moe_budget_user values (:name, :user, :now)
on conflict (name, user) do update set seen_at = excluded.seen_at
"""
FORGET = """
delete from moe_budget_user where name = :name and abs(seen_at - :now) > :seen_for
"""
USERS = "select count(*) from moe_budget_user where name = :name"

_STATE = TypeAdapter(Window)
"""Reads and writes ``moe_budget_window.state``, as JSON."""


_Order = tuple[Order, asyncio.Future[Any]]
"""An order, and the future on its event loop that waits for the result."""

_Work = _Order | asyncio.Future[Any]
"""An order; or the end of the queue: a future that waits until the file is closed."""


class SQLiteLedger:
    """The ledger contract over one file, read and written by a thread of its own.

    The first order opens the file. All processes must be on one host, with one clock.

    Args:
        path: The file, created if it is missing; it may have other tables.
        name: The name of the budget.
        busy_timeout: How long to wait while another process writes, in seconds.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        path: str,
        name: str,
        *,
        busy_timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._name = name
        self._busy_timeout = busy_timeout
        self._clock = clock
        self.begin_in_child()
        begin_in_children(self)

    @property
    def shown(self) -> str:
        return f"sqlite:///{self._path}"

    def begin_in_child(self) -> None:
        """Start without state: after a fork the thread and handle are the parent's."""
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._user = new_id()
        self._seen_at = -math.inf

    async def spend(self, order: Order) -> Spent:
        done: asyncio.Future[Spent] = asyncio.get_running_loop().create_future()
        self._put((order, done))
        return await done

    async def warm(self) -> None:
        """A file needs no connection."""

    async def aclose(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._thread is None:
                return
            self._thread = None
            self._work.put(done)
            self._work = queue.SimpleQueue()
        # A file that hangs must not delay a shutdown.
        await asyncio.wait([done], timeout=OPENING_TIMEOUT)

    def _put(self, work: _Order) -> None:
        with self._lock:
            self._work.put(work)
            if self._thread is not None:
                return
            thread = threading.Thread(
                target=self._run, args=(self._work,), name="moe-budget", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                raise LedgerError("no thread can be started") from error
            self._thread = thread

    # --- the thread --------------------------------------------------------

    def _run(self, work: queue.SimpleQueue[_Work]) -> None:
        db: sqlite3.Connection | None = None
        while True:
            group, closing = _gathered(work)
            # Callers that timed out have counted the call in their memory.
            group = [(order, done) for order, done in group if not done.done()]
            try:
                if group:
                    db = db or _open(self._path, self._busy_timeout)
                    _resolve(group, self._settle(db, [order for order, _ in group]))
            except (sqlite3.Error, OSError, ValueError) as error:
                _fail(group, f"{type(error).__name__}: {error}")
                _close(db)
                db = None
            if closing is not None:
                _close(db)
                with suppress(RuntimeError):
                    closing.get_loop().call_soon_threadsafe(_set, [(closing, None)])
                return

    def _settle(self, db: sqlite3.Connection, orders: Sequence[Order]) -> list[Spent]:
        # Two that have read, and then both want to write, would fail at once.
        db.execute("begin immediate")
        try:
            now = self._clock()
            spent = self._spend(db, orders, now, self._count_users(db, now))
        except BaseException:
            db.rollback()
            raise
        db.commit()
        return spent

    def _spend(
        self, db: sqlite3.Connection, orders: Sequence[Order], now: float, users: int
    ) -> list[Spent]:
        row = db.execute(READ, {"name": self._name}).fetchone()
        window = _window(row[0]) if row is not None else Window()
        spent = [replace(window.take(now, order), users=users) for order in orders]
        state = _STATE.dump_json(window).decode()
        db.execute(WRITE, {"name": self._name, "state": state})
        return spent

    def _count_users(self, db: sqlite3.Connection, now: float) -> int:
        # The clock may have been set back.
        if abs(now - self._seen_at) < SEEN_EVERY:
            return 0
        db.execute(SEEN, {"name": self._name, "user": self._user, "now": now})
        db.execute(FORGET, {"name": self._name, "now": now, "seen_for": SEEN_FOR})
        users: int = db.execute(USERS, {"name": self._name}).fetchone()[0]
        self._seen_at = now
        return users


def _gathered(
    work: queue.SimpleQueue[_Work],
) -> tuple[list[_Order], asyncio.Future[Any] | None]:
    """Wait for work, then return all that is queued."""
    group: list[_Order] = []
    item = work.get()
    while isinstance(item, tuple):
        group.append(item)
        try:
            if len(group) >= MAX_GROUP:
                return group, None
            item = work.get_nowait()
        except queue.Empty:
            return group, None
    return group, item


def _open(path: str, busy_timeout: float) -> sqlite3.Connection:
    # Left to itself, sqlite3 begins transactions that can fail at their first write.
    db = sqlite3.connect(path, timeout=OPENING_TIMEOUT, isolation_level=None)
    try:
        _use_wal(db)
        # A power cut may lose the last calls: the API's next response corrects the
        # count.
        db.execute("pragma synchronous = normal")
        db.executescript(CREATE)
        db.execute(f"pragma busy_timeout = {busy_timeout * 1000:.0f}")
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection) -> None:
    # Of connections that change a new file's mode together, SQLite tells all but one
    # that it is locked, at once: it does not wait as for other locks.
    until = time.monotonic() + OPENING_TIMEOUT
    while True:
        try:
            db.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= until:
                raise
        time.sleep(0.005)


def _window(state: object) -> Window:
    """Return the window in the file; an unreadable one counts as empty."""
    try:
        return _STATE.validate_json(state)  # type: ignore[arg-type]
    except ValidationError:
        return Window()


def _close(db: sqlite3.Connection | None) -> None:
    if db is not None:
        with suppress(sqlite3.Error):
            db.close()


def _resolve(group: Sequence[_Order], results: Sequence[Spent | LedgerError]) -> None:
    """Wake each event loop once, with all its results."""
    settled = defaultdict(list)
    for (_, done), result in zip(group, results, strict=True):
        settled[done.get_loop()].append((done, result))
    for loop, results_here in settled.items():
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_set, results_here)


def _fail(group: Sequence[_Order], message: str) -> None:
    _resolve(group, [LedgerError(message) for _ in group])


def _set(settled: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, result in settled:
        # Cancelled callers are done already.
        if done.done():
            continue
        if isinstance(result, LedgerError):
            done.set_exception(result)
        else:
            done.set_result(result)
