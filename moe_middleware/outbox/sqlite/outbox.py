"""An outbox in one SQLite file, shared by any number of processes of one host.

Appends go through a queue into one writer thread, which commits whatever has gathered
in one transaction: nothing waits for the disk on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson

from ...models.errors import OutboxError
from ...models.events import Event
from ...models.observers import Observer
from ..batch_writer import Batch, BatchWriter, Operation
from ..contract import (
    MAX_EVENTS,
    UNREADABLE,
    Claim,
    Counts,
    DeadLetter,
    EventId,
    Health,
    Kind,
    WaitingEvent,
    WhenFull,
)
from ..encoding import from_fields
from ..journal import Record
from ..journal_files import JournalFiles
from ..losses import Losses, tell
from ..reserve import Reserve
from .files import Synchronous
from .store import SQLiteStore

T = TypeVar("T")

CHUNK = 1_000
"""Events that are replayed or purged in one transaction: others write in between."""

MAX_PARKED = 10_000
"""Events that wait behind earlier ones of their customers: every claim looks at them,
so that beyond so many it looks no further."""

# Lists travel as one JSON text: Python gives up the interpreter's lock at every row
# that it binds or steps to, and a busy event loop is slow to give it back.
IDS = "(select value from json_each(:ids))"
APPEND = """
insert into event (body) select value from json_each(:events) where key < :room
"""
DROP = """
select json_group_array(id) from (
    select id from event
    where id not in (select id from lease where claimable_at > :now)
    order by id limit :count
)
"""
# Customers of whom an earlier event is another relay's, or waits for its retry.
HELD = """
select customer, min(id) as first from lease
where claimable_at > :now and not (relay = :relay and :relay <> '')
group by customer
"""
PARKED = "select count(*) from lease where attempts = 0"
HELD_CUSTOMERS = f"select json_group_array(customer) from ({HELD})"
DUE = f"""
with held as materialized ({HELD})
select id, attempts, body
from lease join event using (id) left join held using (customer)
where claimable_at <= :now and (first is null or first > id)
order by id limit :limit
"""
# Whatever has an id beyond the last lease's was never claimed: claims leave no gap.
FRESH = """
select id, 0 as attempts, body from event
where id > (select coalesce(max(id), 0) from lease)
order by id limit :limit
"""
LEASE_AGAIN = f"""
update lease set claimable_at = :until, attempts = attempts + 1, relay = :relay
where id in {IDS}
"""
LEASE = """
insert into lease (id, customer, claimable_at, attempts, relay)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    :until, :attempts, :relay
from json_each(:rows)
"""
EXTEND = f"update lease set claimable_at = :until where id in {IDS}"
RETRY = f"update lease set claimable_at = :until, relay = '' where id in {IDS}"
BURY = f"""
insert into dead_letter (id, body, reason, attempts, buried_at)
select id, body, :reason, coalesce(attempts, 0), :now
from event left join lease using (id) where id in {IDS}
"""
FORGET = f"delete from event where id in {IDS}"
UNLEASE = f"delete from lease where id in {IDS}"
FORGET_DEAD = f"delete from dead_letter where id in {IDS}"
REVIVE = f"""
insert into event (body) select body from dead_letter where id in {IDS} order by id
"""
COUNT = "select waiting, dead from state"
TALLY = "update state set waiting = waiting + :waiting, dead = dead + :dead"
SEEN = "select seen_at from state"
SEE = "update state set seen_at = :now"
SHIFT = "update lease set claimable_at = claimable_at - :back where claimable_at > 0"
STORED = "select stored from journal where name = :name"
STORE = "insert or replace into journal (name, stored) values (:name, :stored)"
FORGET_JOURNALS = """
delete from journal where name not in (select value from json_each(:names))
"""
NOTE = "insert or replace into process (name, note) values (:name, :note)"
FORGET_NOTE = "delete from process where name = :name"
NOTES = "select name, note from process"
WAITING = """
select id, cast(body as blob), coalesce(attempts, 0), coalesce(claimable_at, 0)
from event left join lease using (id)
"""
DEAD = "select id, cast(body as blob), reason, attempts, buried_at from dead_letter"


class SQLiteOutbox:
    """The outbox contract over one file.

    The file is opened at the first use. It is in WAL mode: what is committed survives
    the death of every process. With ``synchronous="full"`` it survives the machine's
    too; with ``"normal"`` a machine that dies may take back the last commits, those
    since SQLite's last checkpoint.

    Args:
        path: The file, made where it is missing; its directory is not.
        synchronous: ``normal`` or ``full``.
        max_events: How many events wait at most.
        when_full: Whether the newest event is then refused or the oldest dropped.
        busy_timeout: How long an operation waits for other processes', in seconds.
        journal: The beginning of the paths of the journals: files that appended events
            wait in until they are stored. By default the file's own path.
        observer: Is told what happens to events.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        path: str,
        *,
        synchronous: Synchronous = "normal",
        max_events: int = MAX_EVENTS,
        when_full: WhenFull = "refuse",
        busy_timeout: float = 5.0,
        journal: str | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # A daemon may change its directory, and the file is opened more than once.
        self._path = path = os.path.abspath(path)
        self._max_events = max_events
        self._when_full = when_full
        self._observer = observer or Observer()
        self._clock = clock
        self._losses = Losses(path, self._observer)
        self._reserve = Reserve(path)
        self._journals = JournalFiles(journal or path)
        self._writer = BatchWriter(
            path,
            new_store=partial(
                SQLiteStore,
                path,
                synchronous=synchronous,
                busy_timeout=busy_timeout,
                save=self._save,
                reserve=self._reserve,
            ),
            files=self._journals,
            when_full=when_full,
            losses=self._losses,
        )

    def __repr__(self) -> str:
        return f"<SQLiteOutbox {self._path!r}>"

    # --- what happens to an event ------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        if not events:
            return
        # Encoded here, so that what cannot be is refused before it can spoil others.
        self._writer.append(orjson.dumps(events)[1:-1], len(events))
        tell(self._observer, "appended", len(events))

    def append_encoded(self, customer_id: str, bodies: Sequence[bytes]) -> None:
        self._writer.append(b",".join(bodies), len(bodies))
        tell(self._observer, "appended", len(bodies))

    def _save(self, db: sqlite3.Connection, batch: Batch) -> tuple[int, int]:
        records = self._unstored(db, batch)
        waiting, _dead = db.execute(COUNT).fetchone()
        count = sum(record.events for record in records)
        room, dropped = max(0, self._max_events - waiting), 0
        if self._when_full == "drop_oldest":
            room = count
        taken = min(room, count)
        events = b"[%b]" % b",".join(record.body for record in records)
        db.execute(APPEND, {"events": events.decode(), "room": taken})
        excess = waiting + taken - self._max_events
        if excess > 0 and self._when_full == "drop_oldest":
            told = {"now": self._clock(), "count": excess}
            (ids,) = db.execute(DROP, told).fetchone()
            dropped = db.execute(FORGET, {"ids": ids}).rowcount
            db.execute(UNLEASE, {"ids": ids})
        db.execute(TALLY, {"waiting": taken - dropped, "dead": 0})
        return count - taken, dropped

    def _unstored(self, db: sqlite3.Connection, batch: Batch) -> Sequence[Record]:
        """Return the records that are not stored; note that all of them are."""
        told = {"name": batch.journal, "stored": batch.records[-1].sequence}
        found = db.execute(STORED, told).fetchone()
        db.execute(STORE, told)
        if found is not None:
            return [one for one in batch.records if one.sequence > found[0]]
        names = self._journals.names()
        if batch.journal in names:
            # The others ended and were stored, for they have left no file.
            db.execute(FORGET_JOURNALS, {"names": _json(names)})
        return batch.records

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        def run(db: sqlite3.Connection) -> tuple[list[Claim], int]:
            return self._claim(db, limit, lease_for, relay)

        def abandoned(result: tuple[list[Claim], int]) -> Operation:
            # The relay was cancelled: others need not wait for the lease.
            ids = _json([claim.id for claim in result[0]])
            return Operation(lambda db: self._until(db, RETRY, ids, 0.0))

        claims, unreadable = await self._do(run, abandoned=abandoned)
        if unreadable:
            tell(self._observer, "buried", unreadable)
        return claims

    def _claim(
        self, db: sqlite3.Connection, limit: int, lease_for: float, relay: str
    ) -> tuple[list[Claim], int]:
        now = self._now(db)
        told = {"now": now, "limit": limit, "relay": relay}
        rows = _rows(db, DUE, told)
        again = len(rows)
        if again < limit and db.execute(PARKED).fetchone()[0] < MAX_PARKED:
            rows += _rows(db, FRESH, {**told, "limit": limit - again})
        if not rows:
            return [], 0
        held = set(orjson.loads(db.execute(HELD_CUSTOMERS, told).fetchone()[0]))
        claims: list[Claim] = []
        fresh: list[tuple[int, int]] = []
        parked: list[tuple[int, int]] = []
        unreadable: list[int] = []
        for index, (id, attempts, fields) in enumerate(rows):
            event = from_fields(fields)
            if event is None:
                unreadable.append(id)
                continue
            if index >= again:
                customer = zlib.crc32(event.customer_id.encode())
                if customer in held:
                    parked.append((id, customer))
                    continue
                fresh.append((id, customer))
            claims.append(Claim(id=id, event=event, attempts=attempts + 1))
        told = {"until": now + lease_for, "relay": relay, "now": now}
        if again:
            ids = _json([id for id, _, _ in rows[:again]])
            db.execute(LEASE_AGAIN, {**told, "ids": ids})
        if fresh:
            db.execute(LEASE, {**told, "attempts": 1, "rows": _json(fresh)})
        if parked:
            # Due, but for the earlier events, which every claim looks at.
            told |= {"until": 0.0, "relay": ""}
            db.execute(LEASE, {**told, "attempts": 0, "rows": _json(parked)})
        if unreadable:
            self._bury(db, _json(unreadable), UNREADABLE)
        db.execute(SEE, told)
        return claims, len(unreadable)

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        told = _ids(ids)
        await self._do(lambda db: self._until(db, EXTEND, told, lease_for))

    async def ack(self, ids: Sequence[EventId]) -> None:
        told = {"ids": _ids(ids)}

        def run(db: sqlite3.Connection) -> None:
            acked = db.execute(FORGET, told).rowcount
            db.execute(UNLEASE, told)
            db.execute(TALLY, {"waiting": -acked, "dead": 0})

        await self._do(run)

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        told = _ids(ids)
        await self._do(lambda db: self._until(db, RETRY, told, delay))

    def _until(
        self, db: sqlite3.Connection, statement: str, ids: str, delay: float
    ) -> None:
        now = self._now(db)
        db.execute(statement, {"ids": ids, "until": now + delay})
        db.execute(SEE, {"now": now})

    def _now(self, db: sqlite3.Connection) -> float:
        """Return the time; where the clock was set back, set leases back with it."""
        now = self._clock()
        (seen_at,) = db.execute(SEEN).fetchone()
        if now < seen_at:
            db.execute(SHIFT, {"back": seen_at - now})
            db.execute(SEE, {"now": now})
        return now

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        told = _ids(ids)
        await self._do(lambda db: self._bury(db, told, reason))

    def _bury(self, db: sqlite3.Connection, ids: str, reason: str) -> None:
        told = {"ids": ids, "reason": reason, "now": self._clock()}
        buried = db.execute(BURY, told).rowcount
        db.execute(FORGET, told)
        db.execute(UNLEASE, told)
        db.execute(TALLY, {"waiting": -buried, "dead": buried})

    async def flush(self) -> None:
        if self._writer.unsaved:
            await self._do(lambda db: None, after_saving=True)

    def close(self, *, timeout: float = 5.0) -> None:
        self._writer.close(timeout)

    # --- what processes note of themselves ---------------------------------

    async def note(self, name: str, note: bytes) -> None:
        told = {"name": name, "note": note}
        await self._do(lambda db: db.execute(NOTE if note else FORGET_NOTE, told))

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        def replace(db: sqlite3.Connection) -> bool:
            found = dict(db.execute(NOTES).fetchall())
            if any(found.get(name, b"") != note for name, note in expected.items()):
                return False
            for name, note in new.items():
                told = {"name": name, "note": note}
                db.execute(NOTE if note else FORGET_NOTE, told)
            return True

        return await self._do(replace)

    async def notes(self) -> dict[str, bytes]:
        rows = await self._read(lambda db: db.execute(NOTES).fetchall())
        return dict(rows)

    # --- to see and to steer -----------------------------------------------

    async def count(self) -> Counts:
        waiting, dead = await self._read(lambda db: db.execute(COUNT).fetchone())
        return Counts(
            waiting=waiting,
            dead=dead,
            unsaved=self._writer.unsaved,
            refused=self._losses["refused"],
            dropped=self._losses["dropped"],
            lost=self._losses["lost"],
        )

    async def health(self, *, timeout: float = 1.0) -> Health:
        problem = None
        try:
            async with asyncio.timeout(timeout):
                await self._do(self._try, after_saving=True)
        except TimeoutError:
            problem = f"{self._path}: it could not be written within {timeout:g} s"
        except OutboxError as error:
            problem = str(error)
        return Health(
            writable=problem is None, unsaved=self._writer.unsaved, problem=problem
        )

    def _try(self, db: sqlite3.Connection) -> None:
        self._reserve.check(db)
        # A lock is not enough: a read-only disk gives it, too.
        db.execute(TALLY, {"waiting": 0, "dead": 0})

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        statement = f"{WAITING} where id > :after order by id limit :limit"
        told = {"after": 0 if after is None else _number(after), "limit": limit}
        rows = await self._read(lambda db: db.execute(statement, told).fetchall())
        return [_waiting(row) for row in rows]

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        where = "" if after is None else "where id < :after"
        statement = f"{DEAD} {where} order by id desc limit :limit"
        told = {"after": 0 if after is None else _number(after), "limit": limit}
        rows = await self._read(lambda db: db.execute(statement, told).fetchall())
        return [_dead_letter(row) for row in rows]

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        told = {"id": _number(id)}

        def run(db: sqlite3.Connection) -> WaitingEvent | DeadLetter | None:
            if row := db.execute(f"{WAITING} where id = :id", told).fetchone():
                return _waiting(row)
            row = db.execute(f"{DEAD} where id = :id", told).fetchone()
            return _dead_letter(row) if row else None

        return await self._read(run)

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        def run(db: sqlite3.Connection, ids: str) -> int:
            replayed = db.execute(REVIVE, {"ids": ids}).rowcount
            db.execute(FORGET_DEAD, {"ids": ids})
            db.execute(TALLY, {"waiting": replayed, "dead": -replayed})
            return replayed

        return await self._in_chunks("dead_letter", run, ids, limit)

    async def purge(
        self,
        kind: Kind,
        *,
        ids: Sequence[EventId] | None = None,
        limit: int | None = None,
    ) -> int:
        def run_waiting(db: sqlite3.Connection, ids: str) -> int:
            purged = db.execute(FORGET, {"ids": ids}).rowcount
            db.execute(UNLEASE, {"ids": ids})
            db.execute(TALLY, {"waiting": -purged, "dead": 0})
            return purged

        def run_dead(db: sqlite3.Connection, ids: str) -> int:
            purged = db.execute(FORGET_DEAD, {"ids": ids}).rowcount
            db.execute(TALLY, {"waiting": 0, "dead": -purged})
            return purged

        if kind == "waiting":
            return await self._in_chunks("event", run_waiting, ids, limit)
        return await self._in_chunks("dead_letter", run_dead, ids, limit)

    async def restore(self, kept: Sequence[WaitingEvent | DeadLetter]) -> None:
        now = self._clock()

        def run(db: sqlite3.Connection) -> None:
            dead = 0
            for one in kept:
                insert = "insert into event (body) values (cast(? as text))"
                id = db.execute(insert, (one.body,)).lastrowid
                if isinstance(one, DeadLetter):
                    told = {"ids": _json([id]), "reason": one.reason}
                    db.execute(BURY, {**told, "now": one.buried_at or now})
                    db.execute(FORGET, told)
                    dead += 1
            db.execute(TALLY, {"waiting": len(kept) - dead, "dead": dead})

        await self._do(run)

    async def _in_chunks(
        self,
        table: str,
        run: Callable[[sqlite3.Connection, str], int],
        ids: Sequence[EventId] | None,
        limit: int | None,
    ) -> int:
        """Run over the oldest rows, a chunk at a time, up to the newest of now."""
        among = "" if ids is None else f"and id in {IDS}"
        choose = f"""
        select json_group_array(id) from (
            select id from {table} where id <= :last {among} order by id limit :limit
        )
        """
        newest = f"select coalesce(max(id), 0) from {table}"
        told = {"ids": "[]" if ids is None else _ids(ids)}
        told["last"] = (await self._read(lambda db: db.execute(newest).fetchone()))[0]
        left, done = limit, 0
        while left is None or left > 0:
            step = CHUNK if left is None else min(CHUNK, left)

            def chunk(db: sqlite3.Connection, step: int = step) -> int:
                (chosen,) = db.execute(choose, {**told, "limit": step}).fetchone()
                return run(db, chosen)

            changed = await self._do(chunk)
            done += changed
            if changed < step:
                break
            left = None if left is None else left - changed
        return done

    async def _read(self, run: Callable[[sqlite3.Connection], T]) -> T:
        return await self._do(run, reads=True)

    async def _do(
        self,
        run: Callable[[sqlite3.Connection], T],
        *,
        reads: bool = False,
        after_saving: bool = False,
        abandoned: Callable[[T], Operation] | None = None,
    ) -> T:
        operation = Operation(run, reads, after_saving, abandoned)
        self._writer.ask(operation)
        result: T = await asyncio.wrap_future(operation.done)
        return result


def _rows(
    db: sqlite3.Connection, statement: str, told: dict[str, Any]
) -> list[tuple[int, int, Any]]:
    """Return id, attempts and the body's fields; None for what is not JSON.

    They come as one text, unless one body spoils it.
    """
    row = "'[' || id || ',' || attempts || ',' || body || ']'"
    joined = f"select count(*), cast(group_concat({row}) as blob) from ({statement})"
    count, text = db.execute(joined, told).fetchone()
    if not count:
        return []
    try:
        rows: list[tuple[int, int, Any]] = orjson.loads(b"[%b]" % text)
        if len(rows) == count:
            return sorted(rows, key=lambda row: row[0])
    except ValueError:
        pass
    blobs = f"select id, attempts, cast(body as blob) from ({statement})"
    return [
        (id, attempts, _loads(body)) for id, attempts, body in db.execute(blobs, told)
    ]


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _waiting(row: tuple[int, bytes, int, float]) -> WaitingEvent:
    id, body, attempts, claimable_at = row
    return WaitingEvent(id=id, body=body, attempts=attempts, claimable_at=claimable_at)


def _dead_letter(row: tuple[int, bytes, str, int, float]) -> DeadLetter:
    id, body, reason, attempts, buried_at = row
    return DeadLetter(
        id=id, body=body, reason=reason, attempts=attempts, buried_at=buried_at
    )


def _json(value: Sequence[Any]) -> str:
    return orjson.dumps(value).decode()


def _ids(ids: Iterable[EventId]) -> str:
    return _json([_number(id) for id in ids])


def _number(id: EventId) -> int:
    """Return an id as the number that it is; what is none names nothing."""
    try:
        number = int(id)
    except ValueError:
        return 0
    return number if 0 < number < 2**63 else 0
