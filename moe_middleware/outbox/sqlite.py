"""An outbox in one SQLite file, shared by any number of processes of one host.

Appends go through a queue into one writer thread, which commits whatever has gathered
in one transaction: nothing waits for the disk on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet

import orjson

from ..models import Action, Event
from .contract import Claim, Counts, DeadLetter

logger = logging.getLogger(__name__)
T = TypeVar("T")

SCHEMA_VERSION = 1

MAX_UNSAVED = 100_000
"""Events held in memory while the file cannot be written; newer ones are refused."""

BUSY_TIMEOUT = 5.0
"""How long a transaction waits for another process's, in seconds."""

GATHER_FOR = 0.005
"""How long appended events wait for company before they are committed, in seconds.

A commit costs as much for one event as for fifty, and a thread that is woken for each
of them takes the interpreter from the event loop."""

REOPEN_AFTER = 1.0
"""The pause before a file that failed is tried again, in seconds."""

MAX_GROUP = 1_000
"""Operations committed together at most, so that nobody waits long for a commit."""

CREATE = """
create table if not exists event (
    id integer primary key,
    body text not null,
    claimable_at real not null,
    attempts integer not null default 0
);
create index if not exists event_claimable_at on event (claimable_at);
create table if not exists dead_letter (
    id integer primary key,
    body text not null,
    reason text not null,
    buried_at real not null
);
"""
# Lists travel as one JSON text: Python gives up the interpreter's lock at every row
# that it binds or steps to, and a busy event loop is slow to give it back.
APPEND = """
insert into event (body, claimable_at) select value, :now from json_each(:events)
"""
CLAIM = """
update event set claimable_at = :until, attempts = attempts + 1
where id in (
    select id from event where claimable_at <= :now
    order by claimable_at, id limit :limit
)
returning id, body, attempts
"""
ACK = "delete from event where id in (select value from json_each(:ids))"
RETRY = """
update event set claimable_at = :at where id in (select value from json_each(:ids))
"""
BURY = """
insert into dead_letter (body, reason, buried_at)
select body, :reason, :now from event where id in (select value from json_each(:ids))
"""
REPLAY = "insert into event (body, claimable_at) select body, ? from dead_letter"
DEAD_LETTERS = "select id, body, reason from dead_letter order by id desc limit ?"
COUNT = "select (select count(*) from event), (select count(*) from dead_letter)"


@dataclass(frozen=True, slots=True)
class _Appended:
    """Events on their way to the file, as JSON without the list's brackets."""

    events: bytes
    count: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """An operation for the writer thread, and where its result goes."""

    run: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


_Work = _Appended | _Asked


class SQLiteOutbox:
    """The outbox contract over one file.

    The file is opened at the first use. In WAL mode with ``synchronous=normal`` a
    commit survives the death of the process at once, and that of the machine from the
    next checkpoint on.

    Args:
        path: The file, made where it is missing.
        clock: The time, in unix seconds.
    """

    def __init__(self, path: str, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._forget()
        _outboxes.add(self)

    def __repr__(self) -> str:
        return f"<SQLiteOutbox {self._path!r}>"

    def _forget(self) -> None:
        """Start afresh: after a fork the queue and the handle are the parent's."""
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._unsaved = 0
        self.refused = 0

    # --- the contract ------------------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        if not events:
            return
        # Encoded here, so that what cannot be is refused before it can spoil others.
        # The slice is also a copy without the encoder's spare room, of kilobytes.
        work = _Appended(orjson.dumps(events)[1:-1], len(events))
        if not self._put(work):
            logger.error("events_refused count=%d reason=outbox_full", work.count)

    async def claim(self, *, limit: int, lease_for: float) -> list[Claim]:
        now = self._clock()
        told = {"now": now, "until": now + lease_for, "limit": limit}
        rows = await self._do(lambda db: db.execute(CLAIM, told).fetchall())
        claims: list[Claim] = []
        for id, body, attempts in sorted(rows):
            event = _event(body)
            if event is None:
                await self.bury([id], reason="unreadable")
            else:
                claims.append(Claim(id=id, event=event, attempts=attempts))
        return claims

    async def ack(self, ids: Sequence[int]) -> None:
        told = {"ids": _json(ids)}
        await self._do(lambda db: db.execute(ACK, told))

    async def retry(self, ids: Sequence[int], *, delay: float) -> None:
        told = {"ids": _json(ids), "at": self._clock() + delay}
        await self._do(lambda db: db.execute(RETRY, told))

    async def bury(self, ids: Sequence[int], *, reason: str) -> None:
        told = {"ids": _json(ids), "reason": reason, "now": self._clock()}

        def run(db: sqlite3.Connection) -> None:
            db.execute(BURY, told)
            db.execute(ACK, told)

        await self._do(run)

    async def replay(self) -> int:
        now = self._clock()

        def run(db: sqlite3.Connection) -> int:
            replayed = db.execute(REPLAY, (now,)).rowcount
            db.execute("delete from dead_letter")
            return replayed

        return await self._do(run)

    async def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        rows = await self._do(lambda db: db.execute(DEAD_LETTERS, (limit,)).fetchall())
        return [
            DeadLetter(id=id, event=_event(body), reason=reason)
            for id, body, reason in rows
        ]

    async def count(self) -> Counts:
        waiting, dead = await self._do(lambda db: db.execute(COUNT).fetchone())
        return Counts(waiting=waiting, dead=dead)

    async def flush(self) -> None:
        await self._do(lambda db: None)

    def close(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._work.put(None)
        if thread is not None:
            thread.join(timeout=BUSY_TIMEOUT)

    # --- the writer thread -------------------------------------------------

    async def _do(self, run: Callable[[sqlite3.Connection], T]) -> T:
        done: Future[T] = Future()
        self._put(_Asked(run, done))
        return await asyncio.wrap_future(done)

    def _put(self, work: _Work) -> bool:
        with self._lock:
            if isinstance(work, _Appended):
                if self._unsaved >= MAX_UNSAVED:
                    self.refused += work.count
                    return False
                self._unsaved += work.count
            self._work.put(work)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write,
                    args=(self._work,),
                    name="moe-outbox",
                    daemon=True,
                )
                self._thread.start()
        return True

    def _write(self, work: queue.SimpleQueue[_Work | None]) -> None:
        """Commit what gathers until told to close; what fails to commit is kept."""
        db: sqlite3.Connection | None = None
        unsaved: list[_Appended] = []
        closing = False
        while not closing:
            group = _gathered(work, REOPEN_AFTER if unsaved else None)
            closing = None in group
            unsaved += [item for item in group if isinstance(item, _Appended)]
            asked = [item for item in group if isinstance(item, _Asked)]
            try:
                db = db or _open(self._path)
                _commit(db, unsaved, asked, now=self._clock())
            except Exception as error:
                self._failed(asked, error)
                _close(db)
                db = None
            else:
                with self._lock:
                    self._unsaved -= sum(item.count for item in unsaved)
                unsaved = []
        _close(db)
        if unsaved:
            lost = sum(item.count for item in unsaved)
            logger.error("events_lost count=%d reason=outbox_unwritable", lost)

    def _failed(self, asked: Sequence[_Asked], error: Exception) -> None:
        logger.error("outbox_failed outbox=%s error=%s", self._path, error)
        for item in asked:
            if not item.done.done():
                item.done.set_exception(error)


def _gathered(
    work: queue.SimpleQueue[_Work | None], timeout: float | None
) -> list[_Work | None]:
    """Wait for work, then take all there is; a close comes last."""
    group: list[_Work | None] = []
    try:
        group.append(work.get(timeout=timeout))
        if isinstance(group[0], _Appended):
            time.sleep(GATHER_FOR)
        while group[-1] is not None and len(group) < MAX_GROUP:
            group.append(work.get_nowait())
    except queue.Empty:
        pass
    return group


def _commit(
    db: sqlite3.Connection,
    appended: Sequence[_Appended],
    asked: Sequence[_Asked],
    *,
    now: float,
) -> None:
    db.execute("begin immediate")
    try:
        if appended:
            events = b"[%b]" % b",".join(item.events for item in appended)
            db.execute(APPEND, {"events": events.decode(), "now": now})
        results = [item.run(db) for item in asked]
    except BaseException:
        db.rollback()
        raise
    db.commit()
    for item, result in zip(asked, results, strict=True):
        # Whoever waited may have been cancelled meanwhile.
        if item.done.set_running_or_notify_cancel():
            item.done.set_result(result)


def _open(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    db.executescript(CREATE)
    db.execute(f"pragma user_version = {SCHEMA_VERSION}")
    return db


def _close(db: sqlite3.Connection | None) -> None:
    if db is not None:
        db.close()


def _json(ids: Sequence[int]) -> str:
    return orjson.dumps(ids).decode()


def _event(body: str) -> Event | None:
    try:
        fields = orjson.loads(body)
        return Event(**{**fields, "action": Action(fields["action"])})
    except (ValueError, TypeError, KeyError):
        return None


_outboxes: WeakSet[SQLiteOutbox] = WeakSet()


def _forget_after_fork() -> None:
    for outbox in _outboxes:
        outbox._lock = threading.Lock()
        outbox._forget()


os.register_at_fork(after_in_child=_forget_after_fork)
