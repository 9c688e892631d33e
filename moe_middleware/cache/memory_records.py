"""What the memory cache has of one visitor, as one record of bytes. Pure.

A record is the number of its answers, then for each one its name, until when it is
fresh, and where its body is; then the bodies that are no other visitor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct

Body = bytes | int
"""The body itself, or the number of a recurring one."""

Answer = tuple[bytes, float, Body]
"""Its name (the split and the key's digest), fresh until (clock seconds), the body."""


MAX_ANSWERS = 255
"""Of one visitor, for all splits together: as many as a byte can count."""


def pack(answers: Sequence[Answer]) -> bytes:
    """Return the record of answers, in the order in which they expire."""
    parts = [bytes([len(answers)])]
    bodies: list[bytes] = []
    start = 1 + len(answers) * HEADER.size
    for name, fresh_until, body in answers:
        if isinstance(body, int):
            parts.append(HEADER.pack(name, fresh_until, body, RECURRING))
        else:
            parts.append(HEADER.pack(name, fresh_until, start, len(body)))
            bodies.append(body)
            start += len(body)
    return b"".join(parts + bodies)


def find(record: bytes, name: bytes) -> tuple[float, Body] | None:
    """Return until when an answer is fresh, and its body; None where it has none."""
    end = 1 + record[0] * HEADER.size
    at = record.find(name, 1, end)
    while at > 0 and (at - 1) % HEADER.size:
        at = record.find(name, at + 1, end)
    if at < 0:
        return None
    _, fresh_until, start, length = HEADER.unpack_from(record, at)
    if length == RECURRING:
        return fresh_until, start
    return fresh_until, record[start : start + length]


def answers_in(record: bytes) -> Iterator[Answer]:
    """Yield a record's answers."""
    end = 1 + record[0] * HEADER.size
    for name, fresh_until, start, length in HEADER.iter_unpack(record[1:end]):
        if length == RECURRING:
            yield name, fresh_until, start
        else:
            yield name, fresh_until, record[start : start + length]


def recurring_in(record: bytes) -> Iterator[int]:
    """Yield the numbers of a record's recurring bodies."""
    end = 1 + record[0] * HEADER.size
    for _, _, start, length in HEADER.iter_unpack(record[1:end]):
        if length == RECURRING:
            yield start


def count_in(record: bytes) -> int:
    """Return how many answers a record has."""
    return record[0]


def expiry_of(record: bytes) -> float:
    """Return until when the last of a record's answers is fresh."""
    return float(HEADER.unpack_from(record, 1 + (record[0] - 1) * HEADER.size)[1])


HEADER = Struct("=16sdII")
RECURRING = 0xFFFFFFFF
"""As a length: the body is a recurring one, and the start is its number."""
