"""Events that are appended and not yet stored: records in order, in segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct
from typing import NamedTuple, Protocol
from zlib import crc32

from .contract import MAX_UNSAVED, MAX_UNSAVED_BYTES

HEAD = Struct("<IIQ")
"""A record begins with the size of its body in bytes, the count of its events, and its
sequence number."""

CHECKSUM = Struct("<I")
"""Then comes the checksum of both, then the body."""

OVERHEAD = HEAD.size + CHECKSUM.size

NO_RECORD = bytes(OVERHEAD)
"""Stands where a journal ends: its checksum is wrong."""

SEGMENT_SIZE = 1 << 20
"""Bytes of a segment; one of its own is made for a record that is larger."""


class Record(NamedTuple):
    """What one append brought, or a part of it.

    Attributes:
        sequence: Its number in its journal: each record has a higher one than the
            record before it.
        events: How many events it has.
        body: The events, as the store takes them.
    """

    sequence: int
    events: int
    body: bytes


class Segment(Protocol):
    """A piece of memory that records are written to, one behind the other.

    Attributes:
        buffer: The memory.
        size: Its size, in bytes.
        start: Where its first record begins.
        end: Where the next record will begin.
        live: How many of its records are not stored yet.
        outlives: Whether its records outlive this process.
    """

    buffer: bytearray
    size: int
    start: int
    end: int
    live: int
    outlives: bool

    def delete(self) -> None:
        """Give the memory back; its records are stored."""
        ...

    def leave(self) -> None:
        """Leave the records to another process, where they outlive this one."""
        ...


class MemorySegment:
    """A segment that ends with this process."""

    start = 0
    outlives = False

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(size)
        self.size = size
        self.end = 0
        self.live = 0

    def delete(self) -> None:
        """Garbage collection does it."""

    def leave(self) -> None:
        """The records are lost."""


Place = tuple[Segment, int, int, int, int]
"""Where a record is: its segment, where its body starts and ends, how many events it
has, and its sequence number."""


class Journal:
    """A queue of records. Its caller holds a lock around each call but ``read``.

    Args:
        name: Under which a store notes how far it has stored this journal.
        new_segment: Makes a segment of at least so many bytes.
    """

    def __init__(
        self, name: str, new_segment: Callable[[int], Segment] = MemorySegment
    ) -> None:
        self.name = name
        self.unsaved = 0
        self.unsaved_bytes = 0
        self._new_segment = new_segment
        self._segments: list[Segment] = []
        self._active: Segment = MemorySegment(0)
        self._spare: Segment | None = None
        self._sequence = 0
        self._waiting: deque[Place] = deque()
        self._taken: list[Place] = []

    def __bool__(self) -> bool:
        """Whether records wait that are not taken."""
        return bool(self._waiting)

    def fits(self, size: int, count: int) -> bool:
        """Whether a record has room, of so many bytes and events."""
        return (
            self.unsaved + count <= MAX_UNSAVED
            and self.unsaved_bytes + size <= MAX_UNSAVED_BYTES
        )

    def append(self, body: bytes, count: int) -> None:
        """Write a record; what outlives the process does so from here on."""
        size = len(body)
        segment = self._active
        start = segment.end
        end = start + OVERHEAD + size
        if end > segment.size:
            segment = self._next_segment(OVERHEAD + size)
            start = segment.end
            end = start + OVERHEAD + size
        self._sequence = sequence = self._sequence + 1
        head = HEAD.pack(size, count, sequence)
        checksum = CHECKSUM.pack(crc32(body, crc32(head)))
        segment.buffer[start:end] = head + checksum + body
        segment.end = end
        segment.live += 1
        self._waiting.append((segment, start + OVERHEAD, end, count, sequence))
        self.unsaved += count
        self.unsaved_bytes += size

    def take(self, max_count: int, max_bytes: int) -> list[Place]:
        """Take the oldest records: so many events and bytes, and the last is whole."""
        taken, count, size = self._taken, 0, 0
        while self._waiting and count < max_count and size < max_bytes:
            place = self._waiting.popleft()
            taken.append(place)
            count += place[3]
            size += place[2] - place[1]
        return list(taken)

    @staticmethod
    def read(places: Iterable[Place]) -> list[Record]:
        """Return the records of taken places."""
        return [
            Record(sequence, count, bytes(segment.buffer[start:end]))
            for segment, start, end, count, sequence in places
        ]

    def settle(self, stored: int) -> None:
        """Forget so many of the taken records, which are stored; put the rest back."""
        taken, self._taken = self._taken, []
        self._waiting.extendleft(reversed(taken[stored:]))
        self._forget(taken[:stored])

    def drop_oldest(self) -> int:
        """Forget the oldest record that is not taken; return how many events it had."""
        place = self._waiting.popleft()
        self._forget([place])
        return place[3]

    def give_up(self) -> int:
        """Forget the records that end with this process; return how many events."""
        left = [*self._taken, *self._waiting]
        self._taken = [place for place in self._taken if place[0].outlives]
        self._waiting = deque(place for place in self._waiting if place[0].outlives)
        lost = [place for place in left if not place[0].outlives]
        self._forget(lost)
        return sum(place[3] for place in lost)

    def _next_segment(self, size: int) -> Segment:
        spare, self._spare = self._spare, None
        if spare is None or spare.size < size:
            if spare is not None:
                spare.delete()
            spare = self._new_segment(max(size, SEGMENT_SIZE))
        self._segments.append(spare)
        self._active = spare
        return spare

    def _forget(self, places: Iterable[Place]) -> None:
        for segment, start, end, count, _ in places:
            self.unsaved -= count
            self.unsaved_bytes -= end - start
            segment.live -= 1
            if not segment.live:
                self._empty(segment)

    def _empty(self, segment: Segment) -> None:
        """Use a segment from its start again, or keep one for the next burst."""
        start = segment.start
        segment.buffer[start : start + OVERHEAD] = NO_RECORD
        segment.end = start
        if segment is self._active:
            return
        self._segments.remove(segment)
        if self._spare is None and segment.size == SEGMENT_SIZE:
            self._spare = segment
        else:
            segment.delete()
