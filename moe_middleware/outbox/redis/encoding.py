"""Converts events and ids for the scripts of a Redis outbox."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ..contract import Claim, DeadLetter, EventId, WaitingEvent
from ..encoding import decode
from .scripts import CHUNK

T = TypeVar("T")

_HEAD = struct.Struct(">II")
_LETTER_HEAD = struct.Struct(">dII")
_ID = re.compile(r"(\d{1,19})-(\d{1,19})")


def queue_of(customer_id: str) -> int:
    return zlib.crc32(customer_id.encode(errors="surrogatepass"))


def packed_event(customer_id: str, body: bytes) -> bytes:
    return _HEAD.pack(queue_of(customer_id), len(body)) + body


def customer_of(kept: WaitingEvent | DeadLetter) -> str:
    return kept.event.customer_id if kept.event else kept.body.decode(errors="replace")


def read_claims(
    ids: bytes, attempts: bytes, sizes: bytes, bodies: bytes
) -> tuple[list[Claim], list[str]]:
    """Return the claims of a script's answer, and the ids of unreadable events."""
    claims: list[Claim] = []
    unreadable: list[str] = []
    at = 0
    rows = zip(ids.decode().split(), attempts.split(), sizes.split(), strict=True)
    for id, count, size in rows:
        end = at + int(size)
        event = decode(bodies[at:end])
        at = end
        if event is None:
            unreadable.append(id)
        else:
            claims.append(Claim(id=id, event=event, attempts=int(count)))
    return claims, unreadable


def waiting_event(
    id: bytes, body: bytes, attempts: int, claimable_at: bytes
) -> WaitingEvent:
    return WaitingEvent(
        id=id.decode(), body=body, attempts=attempts, claimable_at=float(claimable_at)
    )


def packed_letter(letter: DeadLetter) -> bytes:
    reason = letter.reason.encode(errors="replace")
    head = _LETTER_HEAD.pack(letter.buried_at, letter.attempts, len(reason))
    return head + reason + letter.body


def dead_letter(id: bytes, packed: bytes) -> DeadLetter:
    buried_at, attempts, size = _LETTER_HEAD.unpack_from(packed)
    end = _LETTER_HEAD.size + size
    return DeadLetter(
        id=id.decode(),
        body=packed[end:],
        reason=packed[_LETTER_HEAD.size : end].decode(errors="replace"),
        attempts=attempts,
        buried_at=buried_at,
    )


def is_id(id: EventId) -> bool:
    return _ID.fullmatch(str(id)) is not None


def number_of(id: EventId) -> int:
    """Return the number by which ids are ordered; 0 for an invalid id."""
    found = _ID.fullmatch(str(id))
    return int(found[1]) if found else 0


def words(ids: Iterable[str]) -> bytes:
    return " ".join(ids).encode()


def chunks_of(ids: Iterable[EventId]) -> Iterator[Sequence[str]]:
    """Yield the valid ids, as many at a time as one script takes."""
    return chunked([str(id) for id in ids if is_id(id)])


def chunked(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), CHUNK):
        yield items[at : at + CHUNK]
