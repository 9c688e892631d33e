"""An outbox in one SQLite file, shared by any number of processes of one host.

One writer thread commits all events appended meanwhile in one transaction, so the event
loop never waits for the disk.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ...models.arguments import events_of
from ...models.events import Event
from ...models.observers import Observer
from ..contract import (
    MAX_EVENTS,
    Claim,
    DeadLetter,
    EventId,
    Kind,
    Synchronous,
    WaitingEvent,
    WhenFull,
)
from ..encoding import encode
from ..journal_files import JournalFiles
from ..losses import observe
from ..reserve import Reserve
from ..store_contract import Batch, Operation, Outcome
from ..stored_outbox import StoredOutbox
from . import statements as sql
from .files import OutboxFile
from .leases import Leases
from .rows import (
    append,
    claimed_rows,
    dead_letter,
    forget,
    forget_dead,
    ids_json,
    number_of,
    to_json,
    waiting_event,
)
from .store import SQLiteStore

CHUNK = 1_000
"""Events replayed or purged per transaction: others can write in between."""


class SQLiteOutbox(StoredOutbox):
    """The outbox contract over one file.

    The file is opened at the first use, in WAL mode: committed events survive the end
    of any process. With ``synchronous="full"`` they also survive a power failure; with
    ``"normal"`` a power failure may undo the commits since SQLite's last checkpoint.

    Args:
        path: The file. A missing one is created; its directory must exist.
        workspace_id: The events' workspace. While a file has those of another one,
            nothing is stored in it or claimed from it. Left out, neither is checked.
        synchronous: ``normal`` or ``full``.
        max_events: The most waiting events.
        when_full: Whether new events are then refused or the oldest dropped.
        busy_timeout: Seconds that an operation waits for other processes'.
        journal: The prefix of the paths of the journals: files with appended events
            until they are stored. By default the file's own path.
        observer: Receives the counts of events.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        path: str,
        *,
        workspace_id: str = "",
        synchronous: Synchronous = "normal",
        max_events: int = MAX_EVENTS,
        when_full: WhenFull = "refuse",
        busy_timeout: float = 5.0,
        journal: str | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # A daemon may change its directory before the file is opened again.
        path = os.path.abspath(path)
        self._max_events = max_events
        self._when_full = when_full
        self._leases = Leases(clock)
        self._clock = clock
        self._reserve = Reserve(path)
        self._journals = JournalFiles(journal or path, workspace_id)
        super().__init__(
            path,
            new_store=partial(
                SQLiteStore,
                path,
                workspace=self._journals.workspace,
                synchronous=synchronous,
                busy_timeout=busy_timeout,
                save=self._save,
                reserve=self._reserve,
            ),
            files=self._journals,
            max_events=max_events,
            when_full=when_full,
            synchronous=synchronous,
            observer=observer,
        )

    # --- an event's life ---------------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        # An event that cannot be encoded is refused here, before the batch.
        self.append_encoded("", [encode(one) for one in events_of(events)])

    def append_encoded(self, customer_id: str, bodies: Sequence[bytes]) -> None:
        if bodies:
            self._writer.append(b"\0".join(bodies), len(bodies))
            observe(self._observer, "appended", len(bodies))

    def _save(self, db: sqlite3.Connection, batch: Batch) -> Outcome:
        values = {"name": batch.journal, "stored": batch.records[-1].sequence}
        waiting, stored = db.execute(sql.BEFORE, values).fetchone()
        if stored is None:
            self._begin_journal(db, values)
        else:
            db.execute(sql.STORE, values)
        events: list[str] = []
        for record in batch.records:
            if stored is None or record.sequence > stored:
                # The separator is a character that JSON cannot hold.
                events += record.body.decode().split("\0")
        count, dropped = len(events), 0
        taken = max(0, min(self._max_events - waiting, count))
        if self._when_full == "drop_oldest":
            taken = count
        append(db, events[:taken])
        excess = waiting + taken - self._max_events
        if excess > 0 and self._when_full == "drop_oldest":
            oldest = {"now": self._clock(), "count": excess}
            (ids,) = db.execute(sql.DROP, oldest).fetchone()
            dropped = forget(db, ids)
        db.execute(sql.TALLY, {"waiting": taken, "dead": 0})
        return Outcome(
            saved=len(batch.records),
            added=count,
            refused=count - taken,
            dropped=dropped,
        )

    def _begin_journal(self, db: sqlite3.Connection, values: dict[str, object]) -> None:
        """Note how far a new journal is stored; forget those that have ended."""
        db.execute(sql.BEGIN_JOURNAL, values)
        names = self._journals.names()
        if values["name"] in names:
            # Journals without a file were stored and have ended.
            db.execute(sql.FORGET_JOURNALS, {"names": to_json(names)})

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        def run(db: OutboxFile) -> tuple[list[Claim], int]:
            return self._leases.claim(db, limit, lease_for, relay)

        def abandoned(result: tuple[list[Claim], int]) -> Operation:
            # The relay was cancelled: others must not wait for the lease.
            return Operation(self._hold(sql.RETRY, [one.id for one in result[0]], 0.0))

        claims: list[Claim]
        claims, unreadable = await self._do(run, abandoned=abandoned)
        if unreadable:
            observe(self._observer, "buried", unreadable)
        return claims

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        await self._do(self._hold(sql.EXTEND, ids, lease_for))

    async def ack(self, ids: Sequence[EventId]) -> None:
        await self._do(lambda db: forget(db, claimed_rows(db, ids)))

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        await self._do(self._hold(sql.RETRY, ids, delay))

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        await self._do(lambda db: self._leases.bury(db, claimed_rows(db, ids), reason))

    def _hold(
        self, statement: str, ids: Sequence[EventId], delay: float
    ) -> Callable[[OutboxFile], None]:
        return lambda db: self._leases.hold(db, statement, claimed_rows(db, ids), delay)

    # --- notes of processes ------------------------------------------------

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        def replace(db: sqlite3.Connection) -> bool:
            found = dict(db.execute(sql.NOTES).fetchall()) if expected else {}
            if any(found.get(name, b"") != note for name, note in expected.items()):
                return False
            for name, note in new.items():
                values = {"name": name, "note": note}
                db.execute(sql.NOTE if note else sql.FORGET_NOTE, values)
            return True

        return bool(await self._do(replace))

    async def notes(self) -> dict[str, bytes]:
        return dict(await self._rows(sql.NOTES, {}))

    # --- status and repair -------------------------------------------------

    async def _entries(self) -> tuple[int, int]:
        [(waiting, dead)] = await self._rows(sql.COUNT, {})
        return waiting, dead

    async def _try_to_write(self) -> None:
        await self._do(self._write_nothing, after_saving=True)

    def _write_nothing(self, db: sqlite3.Connection) -> None:
        self._reserve.check(db)
        # A lock is not enough: it can be had on a read-only disk, too.
        db.execute(sql.TALLY, {"waiting": 0, "dead": 0})

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        statement = f"{sql.WAITING} where id > :after order by id limit :limit"
        values = {"after": 0 if after is None else number_of(after), "limit": limit}
        return [waiting_event(row) for row in await self._rows(statement, values)]

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        where = "" if after is None else "where id < :after"
        statement = f"{sql.DEAD} {where} order by id desc limit :limit"
        values = {"after": 0 if after is None else number_of(after), "limit": limit}
        return [dead_letter(row) for row in await self._rows(statement, values)]

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        values = {"id": number_of(id)}
        for row in await self._rows(f"{sql.WAITING} where id = :id", values):
            return waiting_event(row)
        for row in await self._rows(f"{sql.DEAD} where id = :id", values):
            return dead_letter(row)
        return None

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        def run(db: sqlite3.Connection, ids: str) -> int:
            replayed = db.execute(sql.REVIVE, {"ids": ids}).rowcount
            db.execute(sql.TALLY, {"waiting": replayed, "dead": 0})
            return forget_dead(db, ids)

        return await self._in_chunks("dead_letter", run, ids, limit)

    async def purge(
        self,
        kind: Kind,
        *,
        ids: Sequence[EventId] | None = None,
        limit: int | None = None,
    ) -> int:
        if kind == "waiting":
            return await self._in_chunks("event", forget, ids, limit)
        return await self._in_chunks("dead_letter", forget_dead, ids, limit)

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
        """Process the rows that exist now in chunks, oldest first; return how many."""
        among = "" if ids is None else f"and id in {sql.IDS}"
        choose = f"""
        select json_group_array(id) from (
            select id from {table} where id <= :last {among} order by id limit :limit
        )
        """
        newest = f"select coalesce(max(id), 0) from {table}"
        [(last,)] = await self._rows(newest, {})
        values = {"ids": "[]" if ids is None else ids_json(ids), "last": last}
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

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        def run(db: sqlite3.Connection) -> list[Any]:
            return db.execute(statement, values).fetchall()

        rows: list[Any] = await self._do(run, reads=True)
        return rows
