"""The records of a journal, in bytes: each has a head and a body. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

MAGIC = b"moe-journal 1\0\0\n"
"""The first bytes of a segment's file; another version has others."""

HEAD = Struct("<IIQI")
"""A record begins with the size of its body in bytes, the count of its events, the
number that its last event has in the journal, and its checksum."""

HEAD_SIZE = HEAD.size

pack_head_into, unpack_head = HEAD.pack_into, HEAD.unpack_from

NO_RECORD = bytes(HEAD_SIZE)
"""Marks the end of a segment's records: no record has an empty body."""

DROPPED = 1 << 31
"""Added to the event count of a dropped record."""

pack_count, COUNT_AT, COUNT_END = Struct("<I").pack, 4, 8


class Record(NamedTuple):
    """The events of one append, or a part of them.

    Attributes:
        sequence: The number of its last event in its journal.
        events: The number of events, which are numbered without gaps.
        body: The events, in the store's form.
    """

    sequence: int
    events: int
    body: bytes


new_record = Record._make
"""Faster than the class itself, as it runs for every event."""


def records_in(data: bytes) -> Iterator[Record]:
    """Yield the records of a segment's bytes, up to the first incomplete one.

    Dropped records are skipped.
    """
    last, at = None, len(MAGIC)
    while data.startswith(MAGIC) and at + HEAD_SIZE <= len(data):
        size, count, sequence, check = unpack_head(data, at)
        events = count & ~DROPPED
        start, at = at + HEAD_SIZE, at + HEAD_SIZE + size
        body = data[start:at]
        is_whole = 0 < size == len(body) and check == crc32(
            body, sequence + (events << 16)
        )
        # Numbered without a gap: lower numbers are left over from the last use.
        if not is_whole or (last is not None and sequence != last + events):
            return
        last = sequence
        if count < DROPPED:
            yield Record(sequence, events, body)
