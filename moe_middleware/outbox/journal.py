"""A queue of appended events that are not stored yet: records in segments."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from mmap import mmap
from struct import Struct
from typing import NamedTuple
from zlib import crc32

HEAD = Struct("<IIQI")
"""A record begins with the size of its body in bytes, the count of its events, the
number that its last event has in the journal, and its checksum."""

HEAD_SIZE = HEAD.size

write_head, unpack_head = HEAD.pack_into, HEAD.unpack_from

NO_RECORD = bytes(HEAD_SIZE)
"""Marks the end of a segment's records: no record has an empty body."""

DROPPED = 1 << 31
"""Added to the event count of a dropped record."""

pack_count, COUNT_AT = Struct("<I").pack_into, 4

SEGMENT_SIZE = 1 << 20
"""Bytes of a segment; a larger record gets a segment of its own."""

MAX_DOUBLED = 4
"""How often they double at most while more and more events wait: each takes a file
descriptor of the process."""

MAX_SPARES = 3
"""Empty segments that are kept for the next burst: a new one's memory is slow at
first."""

MAX_BYTES_IN_MEMORY = 64_000_000
"""The most bytes of segments that end with the process."""


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


def checksum(body: bytes, sequence: int, events: int) -> int:
    """Return the checksum of a record; an incomplete record has a wrong one."""
    return crc32(body, sequence + (events << 16))


class Segment:
    """Memory for consecutive records; this kind ends with the process.

    Attributes:
        buffer: The memory.
        size: Its size, in bytes.
        start: Where its first record begins.
        next: The start of the first record that was not taken yet.
        end: The end of the last record.
        live: How many of its events are neither stored nor dropped.
        in_memory: Whether it is in this process's memory only.
    """

    start = 0
    in_memory = True

    def __init__(self, size: int, *, until: float = inf) -> None:
        """Make one of so many bytes, which is as good as it gets until some time."""
        self.buffer: bytearray | mmap = bytearray(size)
        self.size = size
        self.next = self.end = self.start
        self.live = 0
        self._until = until

    def outlives(self) -> bool:
        """Whether its records outlive this process."""
        return False

    def is_replaceable(self) -> bool:
        """Whether a new segment may be better than this one."""
        return time.monotonic() >= self._until

    def sync(self) -> None:
        """Write its records to the disk, if they outlive the process."""

    def delete(self) -> None:
        """Free the memory; its records are stored."""

    def leave(self) -> None:
        """Release the records to other processes, if they outlive this one."""


Taken = tuple[Segment, list[Record], list[int]]
"""Records of a segment, and where each of them ends; first, where they begin."""


class Journal:
    """A queue of records. Its caller holds a lock around each call but ``sync``.

    Args:
        name: The name under which a store notes its last stored record.
        most: The most waiting events; the last append may exceed it.
        new_segment: Returns a segment of at least so many bytes.
    """

    def __init__(
        self,
        name: str,
        most: int,
        new_segment: Callable[[int], Segment] = Segment,
    ) -> None:
        self.name = name
        self.unsaved = 0
        self._most = most
        self._new_segment = new_segment
        self._segments: deque[Segment] = deque()
        self._active = Segment(0)
        self._spares: list[Segment] = []
        self._sequence = 0
        self._taken: list[Taken] = []
        self._taken_events = 0

    def __bool__(self) -> bool:
        """Whether there are records that are not taken."""
        return self.unsaved > self._taken_events

    @property
    def is_full(self) -> bool:
        """Whether the limit of waiting events is reached."""
        return self.unsaved >= self._most

    @property
    def outlives(self) -> bool:
        """Whether records that are written now outlive this process."""
        return self._active.outlives()

    def append(self, body: bytes, count: int) -> bool:
        """Write a record, unless the journal is full; return whether it is written.

        In a file, it outlives the process from now on.
        """
        if self.unsaved >= self._most:
            return False
        size = len(body)
        segment = self._active
        start = segment.end
        end = start + HEAD_SIZE + size
        if end > segment.size:
            if not self._begin_segment(HEAD_SIZE + size):
                return False
            segment = self._active
            start = segment.end
            end = start + HEAD_SIZE + size
        self.unsaved += count
        self._sequence = sequence = self._sequence + count
        check = crc32(body, sequence + (count << 16))
        # The head last: until then the record is not there.
        segment.buffer[start + HEAD_SIZE : end] = body
        write_head(segment.buffer, start, size, count, sequence, check)
        segment.end = end
        segment.live += count
        return True

    def take(self, most: int, most_bytes: int) -> list[Record]:
        """Take the oldest records; the last one may exceed the limits."""
        found: list[Record] = []
        taken = 0
        for segment in self._segments:
            if most <= 0 or most_bytes <= 0:
                break
            at, end, buffer = segment.next, segment.end, segment.buffer
            records, ends = [], [at]
            while at < end and most > 0 and most_bytes > 0:
                size, events, sequence, _ = unpack_head(buffer, at)
                start = at + HEAD_SIZE
                at = start + size
                if events < DROPPED:
                    records.append(new_record((sequence, events, buffer[start:at])))
                    ends.append(at)
                    taken += events
                    most -= events
                    most_bytes -= size
            segment.next = at
            self._taken.append((segment, records, ends))
            found += records
        self._taken_events = taken
        return found

    def settle(self, stored: int) -> None:
        """Remove ``stored`` of the taken records; put the others back."""
        taken, self._taken, self._taken_events = self._taken, [], 0
        for segment, records, ends in taken:
            done = records[:stored]
            stored -= len(done)
            if segment in self._segments:
                if len(done) < len(records):
                    segment.next = ends[len(done)]
                self._forget(segment, sum(record.events for record in done))

    def drop_oldest(self) -> int:
        """Drop the oldest record that is not taken; return how many events it had.

        It is marked as dropped, so that no other process stores it.
        """
        for segment in self._segments:
            while segment.next < segment.end:
                at = segment.next
                size, events, _, _ = unpack_head(segment.buffer, at)
                segment.next = at + HEAD_SIZE + size
                if events < DROPPED:
                    pack_count(segment.buffer, at + COUNT_AT, events | DROPPED)
                    self._forget(segment, events)
                    return int(events)
        return 0

    def sync(self) -> None:
        """Write the waiting records to the disk, if they outlive the process."""
        for segment in list(self._segments):
            segment.sync()

    def give_up(self) -> int:
        """Remove the records that end with this process; return how many events."""
        lost = 0
        for segment in [one for one in self._segments if not one.outlives()]:
            lost += segment.live
            segment.next = segment.end
            self._segments.remove(segment)
            if segment is self._active:
                self._active = Segment(0)
        self.unsaved -= lost
        return lost

    def close(self) -> int:
        """Release the records to other processes; return how many events."""
        for segment in [*self._segments, *self._spares]:
            if segment.live:
                segment.leave()
            else:
                segment.delete()
        self._segments.clear()
        self._spares, self._active = [], Segment(0)
        return self.unsaved

    def leave_to_parent(self) -> None:
        """Close the parent's segments in a forked child."""
        for segment in [*self._segments, *self._spares]:
            segment.leave()

    def _begin_segment(self, size: int) -> bool:
        """Continue in another segment; False if there is too much in memory."""
        if self._spares and size <= SEGMENT_SIZE:
            segment = self._spares.pop()
        else:
            doubled = SEGMENT_SIZE << min(len(self._segments), MAX_DOUBLED)
            segment = self._new_segment(max(size, doubled))
            if segment.in_memory and self._memory() + size > MAX_BYTES_IN_MEMORY:
                return False
        self._segments.append(segment)
        self._active = segment
        return True

    def _memory(self) -> int:
        return sum(one.size for one in self._segments if one.in_memory)

    def _forget(self, segment: Segment, events: int) -> None:
        self.unsaved -= events
        segment.live -= events
        if not segment.live:
            self._empty(segment)

    def _empty(self, segment: Segment) -> None:
        """Reuse an empty segment, keep it as a spare, or delete it."""
        start = segment.start
        segment.buffer[start : start + HEAD_SIZE] = NO_RECORD
        segment.end = segment.next = start
        if segment is self._active:
            if not segment.is_replaceable():
                return
            self._active = Segment(0)
        self._segments.remove(segment)
        is_usual = segment.size - segment.start == SEGMENT_SIZE
        if is_usual and segment.outlives() and len(self._spares) < MAX_SPARES:
            self._spares.append(segment)
        else:
            segment.delete()


def whole_records(data: bytes, at: int) -> Iterable[Record]:
    """Yield the records of a segment's bytes, up to the first incomplete one.

    What was dropped is passed over. Events are numbered without a gap in a segment:
    lower numbers are what is left over from its last use.
    """
    last = None
    while at + HEAD_SIZE <= len(data):
        size, count, sequence, found = unpack_head(data, at)
        events = count & ~DROPPED
        start, at = at + HEAD_SIZE, at + HEAD_SIZE + size
        body = data[start:at]
        is_whole = 0 < size == len(body) and found == checksum(body, sequence, events)
        if not is_whole or (last is not None and sequence != last + events):
            return
        last = sequence
        if count < DROPPED:
            yield Record(sequence, events, body)
