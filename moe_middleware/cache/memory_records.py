"""One visitor's answers in the memory cache, packed into bytes. Pure: no I/O.

A record is the number of answers; for each answer its name, the time until which it is
fresh and the place of its body; then the bodies that no other visitor shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from operator import itemgetter
from struct import Struct

Body = bytes | int
"""The body itself, or the number of a recurring one."""

Answer = tuple[bytes, float, Body]
"""Its name (variant and key digest), the clock's second until it is fresh, its body."""


MAX_ANSWERS = 255
"""Answers of one visitor, over all variants: as many as a byte can count."""


def pack(answers: Sequence[Answer]) -> bytes:
    """Return the record of answers, which must come in the order of their expiry."""
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


def answers_in(record: bytes) -> Iterator[Answer]:
    """Yield the answers of a record."""
    end = 1 + record[0] * HEADER.size
    for name, fresh_until, start, length in HEADER.iter_unpack(record[1:end]):
        if length == RECURRING:
            yield name, fresh_until, start
        else:
            yield name, fresh_until, record[start : start + length]


def merged(new: Iterable[Answer], record: bytes | None, expired: float) -> list[Answer]:
    """Return new and known answers, the fresher of each, in the order of expiry."""
    answers = {answer[0]: answer for answer in new}
    for answer in answers_in(record) if record else ():
        name, fresh_until, _ = answer
        if name not in answers or answers[name][1] < fresh_until:
            answers[name] = answer
    kept = [answer for answer in answers.values() if answer[1] > expired]
    # The last in a record is the one that expires last: see ``expiry_of``.
    return sorted(kept, key=itemgetter(1))[-MAX_ANSWERS:]


def fresh_in(
    record: bytes,
    variant: bytes,
    wanted: Iterable[tuple[str, bytes]],
    after: float,
    recurring: Mapping[int, bytes],
) -> tuple[dict[str, bytes], float]:
    """Return the bodies of answers by key, and until when all of these are fresh.

    Args:
        record: The record.
        variant: The first part of the answers' names.
        wanted: The keys, with their digests: the second part.
        after: Answers that expire later are fresh.
        recurring: The recurring bodies by number.
    """
    found: dict[str, bytes] = {}
    end, first = 1 + record[0] * HEADER.size, inf
    for key, digest in wanted:
        name = variant + digest
        at = record.find(name, 1, end)
        # The same bytes may occur across two headers.
        while at > 0 and (at - 1) % HEADER.size:
            at = record.find(name, at + 1, end)
        if at < 0:
            continue
        _, until, start, length = unpack(record, at)
        if until > after:
            if until < first:
                first = until
            found[key] = (
                recurring[start]
                if length == RECURRING
                else record[start : start + length]
            )
    return found, first


def recurring_in(record: bytes) -> Iterator[int]:
    """Yield the numbers of the recurring bodies in a record."""
    end = 1 + record[0] * HEADER.size
    for _, _, start, length in HEADER.iter_unpack(record[1:end]):
        if length == RECURRING:
            yield start


def count_in(record: bytes) -> int:
    """Return the number of answers in a record."""
    return record[0]


def expiry_of(record: bytes) -> float:
    """Return the time until which the last answer of a record is fresh."""
    return float(HEADER.unpack_from(record, 1 + (record[0] - 1) * HEADER.size)[1])


def size_of(data: bytes) -> int:
    """Return the estimated memory of a bytes object, in bytes."""
    # The header of a bytes object, and the steps of the allocator.
    return len(data) + 33 + 7 & ~15


HEADER = Struct("=16sdII")
unpack = HEADER.unpack_from
RECURRING = 0xFFFFFFFF
"""The length that marks a recurring body; ``start`` is then its number."""
