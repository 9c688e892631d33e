"""Leases in a SQLite outbox's file: claims, retries and burials, in a transaction."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable

import orjson

from ..contract import UNREADABLE, Claim
from ..encoding import from_fields
from . import statements as sql
from .files import OutboxFile
from .rows import first_id, forget, read_rows, to_json

MAX_PARKED = 10_000
"""The most events that may wait behind earlier ones of their customers: each claim
reads them, and with more of them it reads no new events."""


class Leases:
    """Claims, extends, releases and buries events, within a transaction.

    Args:
        clock: The time, in unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def claim(
        self, db: OutboxFile, limit: int, lease_for: float, relay: str
    ) -> tuple[list[Claim], int]:
        now = self._now(db)
        values = {"now": now, "limit": limit, "relay": relay}
        rows = read_rows(db, sql.DUE, values)
        again = len(rows)
        if again < limit and db.execute(sql.PARKED).fetchone()[0] < MAX_PARKED:
            rows += read_rows(db, sql.FRESH, {**values, "limit": limit - again})
        if not rows:
            return [], 0
        held = set(orjson.loads(db.execute(sql.HELD_CUSTOMERS, values).fetchone()[0]))
        claims: list[Claim] = []
        fresh: list[tuple[int, int]] = []
        parked: list[tuple[int, int]] = []
        unreadable: list[int] = []
        first = first_id(db)
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
            claims.append(Claim(first + id, event, attempts + 1))
        values = {"until": now + lease_for, "relay": relay, "now": now}
        if again:
            ids = to_json([id for id, _, _ in rows[:again]])
            db.execute(sql.LEASE_AGAIN, {**values, "ids": ids})
        if fresh:
            db.execute(sql.LEASE, {**values, "attempts": 1, "rows": to_json(fresh)})
        if parked:
            # Claimable, once no earlier event of the customer is leased.
            values |= {"until": 0.0, "relay": ""}
            db.execute(sql.LEASE, {**values, "attempts": 0, "rows": to_json(parked)})
        if unreadable:
            self.bury(db, to_json(unreadable), UNREADABLE)
        db.execute(sql.SEE, values)
        return claims, len(unreadable)

    def hold(
        self, db: sqlite3.Connection, statement: str, ids: str, delay: float
    ) -> None:
        now = self._now(db)
        db.execute(statement, {"ids": ids, "until": now + delay})
        db.execute(sql.SEE, {"now": now})

    def _now(self, db: sqlite3.Connection) -> float:
        """Return the time; if the clock was set back, set the leases back, too."""
        now = self._clock()
        (seen_at,) = db.execute(sql.SEEN).fetchone()
        if now < seen_at:
            db.execute(sql.SHIFT, {"back": seen_at - now})
            db.execute(sql.SEE, {"now": now})
        return now

    def bury(self, db: sqlite3.Connection, ids: str, reason: str) -> None:
        values = {"ids": ids, "reason": reason, "now": self._clock()}
        buried = db.execute(sql.BURY, values).rowcount
        db.execute(sql.TALLY, {"waiting": 0, "dead": buried})
        forget(db, ids)
