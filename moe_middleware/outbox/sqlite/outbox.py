"""An outbox in one SQLite file, shared by any number of processes of one host.

Appends go through a queue into one writer thread, which commits whatever has gathered
in one transaction: nothing waits for the disk on the event loop.

Longer than 350 lines: every operation of the outbox is a method of one class.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import orjson

from ...models.errors import OutboxError
from ...models.events import Event
from ...models.observers import Observer
from ..batch_writer import BatchWriter
from ..contract import (
    MAX_EVENTS,
    Claim,
    Counts,
    DeadLetter,
    EventId,
    Health,
    Kind,
    WaitingEvent,
    WhenFull,
)
from ..journal import Record
from ..journal_files import JournalFiles
from ..losses import Losses, tell
from ..reserve import Reserve
from ..stores import Batch, Operation
from . import statements as sql
from .files import Synchronous
from .leases import Leases
from .rows import dead_letter, ids_json, number_of, to_json, waiting_event
from .store import SQLiteStore

T = TypeVar("T")

CHUNK = 1_000
"""Events that are replayed or purged in one transaction: others write in between."""


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
        observer: Receives what happens to events.
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
        self._leases = Leases(clock)
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
        if bodies:
            self._writer.append(b",".join(bodies), len(bodies))
            tell(self._observer, "appended", len(bodies))

    def _save(self, db: sqlite3.Connection, batch: Batch) -> tuple[int, int]:
        records = self._unstored(db, batch)
        waiting, _dead = db.execute(sql.COUNT).fetchone()
        count = sum(record.events for record in records)
        room, dropped = max(0, self._max_events - waiting), 0
        if self._when_full == "drop_oldest":
            room = count
        taken = min(room, count)
        events = b"[%b]" % b",".join(record.body for record in records)
        db.execute(sql.APPEND, {"events": events.decode(), "room": taken})
        excess = waiting + taken - self._max_events
        if excess > 0 and self._when_full == "drop_oldest":
            values = {"now": self._clock(), "count": excess}
            (ids,) = db.execute(sql.DROP, values).fetchone()
            dropped = db.execute(sql.FORGET, {"ids": ids}).rowcount
            db.execute(sql.UNLEASE, {"ids": ids})
        db.execute(sql.TALLY, {"waiting": taken - dropped, "dead": 0})
        return count - taken, dropped

    def _unstored(self, db: sqlite3.Connection, batch: Batch) -> Sequence[Record]:
        """Return the records that are not stored; note that all of them are."""
        values = {"name": batch.journal, "stored": batch.records[-1].sequence}
        found = db.execute(sql.STORED, values).fetchone()
        db.execute(sql.STORE, values)
        if found is not None:
            return [one for one in batch.records if one.sequence > found[0]]
        names = self._journals.names()
        if batch.journal in names:
            # The others ended and were stored, for they have left no file.
            db.execute(sql.FORGET_JOURNALS, {"names": to_json(names)})
        return batch.records

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        def run(db: sqlite3.Connection) -> tuple[list[Claim], int]:
            return self._leases.claim(db, limit, lease_for, relay)

        def abandoned(result: tuple[list[Claim], int]) -> Operation:
            # The relay was cancelled: others need not wait for the lease.
            ids = to_json([claim.id for claim in result[0]])
            return Operation(lambda db: self._leases.hold(db, sql.RETRY, ids, 0.0))

        claims, unreadable = await self._do(run, abandoned=abandoned)
        if unreadable:
            tell(self._observer, "buried", unreadable)
        return claims

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        values = ids_json(ids)
        await self._do(lambda db: self._leases.hold(db, sql.EXTEND, values, lease_for))

    async def ack(self, ids: Sequence[EventId]) -> None:
        values = {"ids": ids_json(ids)}

        def run(db: sqlite3.Connection) -> None:
            acked = db.execute(sql.FORGET, values).rowcount
            db.execute(sql.UNLEASE, values)
            db.execute(sql.TALLY, {"waiting": -acked, "dead": 0})

        await self._do(run)

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        values = ids_json(ids)
        await self._do(lambda db: self._leases.hold(db, sql.RETRY, values, delay))

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        values = ids_json(ids)
        await self._do(lambda db: self._leases.bury(db, values, reason))

    async def flush(self) -> None:
        if self._writer.unsaved:
            await self._do(lambda db: None, after_saving=True)

    def close(self, *, timeout: float = 5.0) -> None:
        self._writer.close(timeout)

    # --- what processes note of themselves ---------------------------------

    async def note(self, name: str, note: bytes) -> None:
        values = {"name": name, "note": note}
        await self._do(
            lambda db: db.execute(sql.NOTE if note else sql.FORGET_NOTE, values)
        )

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        def replace(db: sqlite3.Connection) -> bool:
            found = dict(db.execute(sql.NOTES).fetchall())
            if any(found.get(name, b"") != note for name, note in expected.items()):
                return False
            for name, note in new.items():
                values = {"name": name, "note": note}
                db.execute(sql.NOTE if note else sql.FORGET_NOTE, values)
            return True

        return await self._do(replace)

    async def notes(self) -> dict[str, bytes]:
        rows = await self._read(lambda db: db.execute(sql.NOTES).fetchall())
        return dict(rows)

    # --- to see and to steer -----------------------------------------------

    async def count(self) -> Counts:
        waiting, dead = await self._read(lambda db: db.execute(sql.COUNT).fetchone())
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
        db.execute(sql.TALLY, {"waiting": 0, "dead": 0})

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        statement = f"{sql.WAITING} where id > :after order by id limit :limit"
        values = {"after": 0 if after is None else number_of(after), "limit": limit}
        rows = await self._read(lambda db: db.execute(statement, values).fetchall())
        return [waiting_event(row) for row in rows]

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        where = "" if after is None else "where id < :after"
        statement = f"{sql.DEAD} {where} order by id desc limit :limit"
        values = {"after": 0 if after is None else number_of(after), "limit": limit}
        rows = await self._read(lambda db: db.execute(statement, values).fetchall())
        return [dead_letter(row) for row in rows]

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        values = {"id": number_of(id)}

        def run(db: sqlite3.Connection) -> WaitingEvent | DeadLetter | None:
            if row := db.execute(f"{sql.WAITING} where id = :id", values).fetchone():
                return waiting_event(row)
            row = db.execute(f"{sql.DEAD} where id = :id", values).fetchone()
            return dead_letter(row) if row else None

        return await self._read(run)

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        def run(db: sqlite3.Connection, ids: str) -> int:
            replayed = db.execute(sql.REVIVE, {"ids": ids}).rowcount
            db.execute(sql.FORGET_DEAD, {"ids": ids})
            db.execute(sql.TALLY, {"waiting": replayed, "dead": -replayed})
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
            purged = db.execute(sql.FORGET, {"ids": ids}).rowcount
            db.execute(sql.UNLEASE, {"ids": ids})
            db.execute(sql.TALLY, {"waiting": -purged, "dead": 0})
            return purged

        def run_dead(db: sqlite3.Connection, ids: str) -> int:
            purged = db.execute(sql.FORGET_DEAD, {"ids": ids}).rowcount
            db.execute(sql.TALLY, {"waiting": 0, "dead": -purged})
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
                    values = {"ids": to_json([id]), "reason": one.reason}
                    db.execute(sql.BURY, {**values, "now": one.buried_at or now})
                    db.execute(sql.FORGET, values)
                    dead += 1
            db.execute(sql.TALLY, {"waiting": len(kept) - dead, "dead": dead})

        await self._do(run)

    async def _in_chunks(
        self,
        table: str,
        run: Callable[[sqlite3.Connection, str], int],
        ids: Sequence[EventId] | None,
        limit: int | None,
    ) -> int:
        """Run over the oldest rows, a chunk at a time, up to the newest of now."""
        among = "" if ids is None else f"and id in {sql.IDS}"
        choose = f"""
        select json_group_array(id) from (
            select id from {table} where id <= :last {among} order by id limit :limit
        )
        """
        newest = f"select coalesce(max(id), 0) from {table}"
        values = {"ids": "[]" if ids is None else ids_json(ids)}
        values["last"] = (await self._read(lambda db: db.execute(newest).fetchone()))[0]
        left, done = limit, 0
        while left is None or left > 0:
            step = CHUNK if left is None else min(CHUNK, left)

            def chunk(db: sqlite3.Connection, step: int = step) -> int:
                (chosen,) = db.execute(choose, {**values, "limit": step}).fetchone()
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
