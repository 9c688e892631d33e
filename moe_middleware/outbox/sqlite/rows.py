"""Converts a SQLite outbox's rows and ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import orjson

from ..contract import DeadLetter, EventId, WaitingEvent
from . import statements as sql
from .files import OutboxFile


def append(db: sqlite3.Connection, bodies: Sequence[str]) -> None:
    """Add events, in order: many rows at a time, as the interpreter's lock is given up
    at each statement.
    """
    most = sql.ROWS_AT_ONCE[-1]
    for at in range(0, len(bodies), most):
        some = bodies[at : at + most]
        count = next(one for one in sql.ROWS_AT_ONCE if one >= len(some))
        db.execute(sql.APPEND[count], [*some, *[None] * (count - len(some))])


def forget(db: sqlite3.Connection, ids: str) -> int:
    """Delete waiting events; return how many there were."""
    forgotten = db.execute(sql.FORGET, {"ids": ids}).rowcount
    db.execute(sql.UNLEASE, {"ids": ids})
    db.execute(sql.TALLY, {"waiting": -forgotten, "dead": 0})
    return forgotten


def forget_dead(db: sqlite3.Connection, ids: str) -> int:
    """Delete dead letters; return how many there were."""
    forgotten = db.execute(sql.FORGET_DEAD, {"ids": ids}).rowcount
    db.execute(sql.TALLY, {"waiting": 0, "dead": -forgotten})
    return forgotten


def read_rows(
    db: sqlite3.Connection, statement: str, values: dict[str, Any]
) -> list[tuple[int, int, Any]]:
    """Return each row's id, attempts, and the body's fields (None if it is not JSON).

    All rows are read as one JSON text, unless one of the bodies is invalid.
    """
    row = "id || ',' || attempts || ',' || body"
    joined = f"select count(*), cast(group_concat({row}) as blob) from ({statement})"
    count, text = db.execute(joined, values).fetchone()
    if not count:
        return []
    try:
        # Flat, as a list for each row would take time in garbage collections.
        flat = orjson.loads(b"[%b]" % text)
        if len(flat) == 3 * count:
            rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            return sorted(rows, key=itemgetter(0))
    except ValueError:
        pass
    blobs = f"select id, attempts, cast(body as blob) from ({statement})"
    return [
        (id, attempts, _loads(body)) for id, attempts, body in db.execute(blobs, values)
    ]


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def waiting_event(row: tuple[int, bytes, int, float]) -> WaitingEvent:
    id, body, attempts, claimable_at = row
    return WaitingEvent(id=id, body=body, attempts=attempts, claimable_at=claimable_at)


def dead_letter(row: tuple[int, bytes, str, int, float]) -> DeadLetter:
    id, body, reason, attempts, buried_at = row
    return DeadLetter(
        id=id, body=body, reason=reason, attempts=attempts, buried_at=buried_at
    )


def to_json(value: Sequence[Any]) -> str:
    return orjson.dumps(value).decode()


def ids_json(ids: Iterable[EventId]) -> str:
    return to_json([number_of(id) for id in ids])


def number_of(id: EventId) -> int:
    """Return an id as a row's number; 0, which no event has, if it is none."""
    return _number(id) & _ROW


def _number(id: EventId) -> int:
    try:
        number = int(id)
    except ValueError:
        return 0
    return number if 0 < number < 2**63 else 0


# --- the ids of claims --------------------------------------------------------

_ROW_BITS = 47
_ROW = (1 << _ROW_BITS) - 1
"""Above a row's number, the id of a claim has the number of its file: see
``OutboxFile``. The first file's ids are those of its rows."""


def first_id(db: OutboxFile) -> int:
    """Return what is added to a row's number for the id of a claim."""
    return db.number << _ROW_BITS


def claimed_rows(db: OutboxFile, ids: Iterable[EventId]) -> str:
    """Return the rows of claims in this file as JSON; those of earlier files are none.

    Such events were moved and got new ids, or their file is gone: they are claimed
    anew.
    """
    first = first_id(db)
    rows = [_number(id) - first for id in ids]
    return to_json([row for row in rows if 0 < row <= _ROW])
