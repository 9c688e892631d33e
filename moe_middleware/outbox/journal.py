"""Events that are appended and not yet stored: records in order, in segments."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from mmap import mmap
from struct import Struct
from typing import NamedTuple
from zlib import crc32 as checksum

from .contract import MAX_UNSAVED, MAX_UNSAVED_BYTES

HEAD = Struct("<IIQI")
"""A record begins with the size of its body in bytes, the count of its events, its
sequence number and the checksum of its body, which begins with that number."""

HEAD_SIZE = HEAD.size

pack_head, unpack_head = HEAD.pack, HEAD.unpack_from

NO_RECORD = bytes(HEAD.size)
"""Stands where a journal ends: no body is empty."""

SEGMENT_SIZE = 1 << 20
"""Bytes of a segment; one of its own is made for a record that is larger."""


MAX_SPARES = 3
"""Empty segments that are kept for the next burst: a new one's memory is slow at
first."""


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


new_record = Record._make
"""Quicker than the class itself: it runs for every event."""


class Segment:
    """Memory for records, one behind the other; this kind ends with the process.

    Attributes:
        buffer: The memory.
        size: Its size, in bytes.
        start: Where its first record begins.
        next: Where the first record begins that was not taken yet.
        end: Where the next record will begin.
        live: How many of its records are not stored yet.
    """

    start = 0

    def __init__(self, size: int, *, until: float = inf) -> None:
        """Make one of so many bytes, which is as good as it gets until some time."""
        self.buffer: bytearray | mmap = bytearray(size)
        self.size = size
        self.next = self.end = self.start
        self.live = 0
        self._until = until

    def take(self, most: int, most_bytes: int) -> list[Place]:
        """Take the next records: so many events and bytes, and the last is whole."""
        at, end, buffer = self.next, self.end, self.buffer
        places: list[Place] = []
        while at < end and most > 0 and most_bytes > 0:
            size, events, sequence, _ = unpack_head(buffer, at)
            at += HEAD_SIZE
            places.append((self, at, size, events, sequence))
            at += size
            most -= events
            most_bytes -= size
        self.next = at
        return places

    def outlives(self) -> bool:
        """Whether its records outlive this process now."""
        return False

    def is_replaceable(self) -> bool:
        """Whether a new segment may be better than this one."""
        return time.monotonic() >= self._until

    def delete(self) -> None:
        """Give the memory back; its records are stored."""

    def leave(self) -> None:
        """Leave the records to another process, where they outlive this one."""


Place = tuple[Segment, int, int, int, int]
"""Where a record is: its segment, where its body starts, the body's size, how many
events it has, and its sequence number."""


class Journal:
    """A queue of records. Its caller holds a lock around each call but ``read``.

    Args:
        name: Under which a store notes how far it has stored this journal.
        new_segment: Makes a segment of at least so many bytes.
    """

    def __init__(
        self, name: str, new_segment: Callable[[int], Segment] = Segment
    ) -> None:
        self.name = name
        self.unsaved = 0
        self._new_segment = new_segment
        self._segments: list[Segment] = []
        self._active = Segment(0)
        self._spares: list[Segment] = []
        self._sequence = 0
        self._taken: list[Place] = []
        self._returned: deque[Place] = deque()

    def __bool__(self) -> bool:
        """Whether records wait that are not taken."""
        return bool(self._returned) or any(one.next < one.end for one in self._segments)

    def append(self, body: bytes, count: int) -> bool:
        """Write a record, unless too much waits; return whether it is written.

        If it outlives the process at all, it does so from here on.
        """
        unsaved = self.unsaved + count
        if unsaved > MAX_UNSAVED:
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
        self.unsaved = unsaved
        self._sequence = sequence = self._sequence + 1
        head = pack_head(size, count, sequence, checksum(body, sequence))
        segment.buffer[start:end] = head + body
        segment.end = end
        segment.live += 1
        return True

    def take(self, most: int, most_bytes: int) -> list[Place]:
        """Take the oldest records: so many events and bytes, and the last is whole."""
        taken = self._taken
        while self._returned and most > 0 and most_bytes > 0:
            taken.append(self._returned.popleft())
            most -= taken[-1][3]
            most_bytes -= taken[-1][2]
        if not self._returned:
            for segment in self._segments:
                places = segment.take(most, most_bytes)
                taken += places
                most -= sum(place[3] for place in places)
                most_bytes -= sum(place[2] for place in places)
        return list(taken)

    @staticmethod
    def read(places: Iterable[Place]) -> list[Record]:
        """Return the records of taken places."""
        return [
            new_record((sequence, events, segment.buffer[start : start + size]))
            for segment, start, size, events, sequence in places
        ]

    def settle(self, stored: int) -> None:
        """Forget so many of the taken records, which are stored; put the rest back."""
        taken, self._taken = self._taken, []
        self._returned.extendleft(reversed(taken[stored:]))
        self._forget(taken[:stored])

    def drop_oldest(self) -> int:
        """Forget the oldest record that is not taken; return how many events it had."""
        place = self._oldest()
        if place is None:
            return 0
        self._forget([place])
        return place[3]

    def give_up(self) -> int:
        """Forget the records that end with this process; return how many events."""
        ending = [one for one in self._all_segments() if not one.outlives()]
        places = [*self._taken, *self._returned]
        lost = [place for place in places if place[0] in ending]
        for segment in ending:
            lost += segment.take(MAX_UNSAVED, segment.size)
        self._taken = [place for place in self._taken if place[0] not in ending]
        self._returned = deque(p for p in self._returned if p[0] not in ending)
        self._forget(lost)
        return sum(place[3] for place in lost)

    def close(self) -> int:
        """Leave what is not stored to other processes; return how many events."""
        for segment in self._all_segments():
            if segment.live:
                segment.leave()
            else:
                segment.delete()
        self._segments, self._spares, self._active = [], [], Segment(0)
        return self.unsaved

    def leave_to_parent(self) -> None:
        """Let go, in a forked child, of what is its parent's."""
        for segment in self._all_segments():
            segment.leave()

    def _all_segments(self) -> list[Segment]:
        return [*self._segments, *self._spares]

    def _begin_segment(self, size: int) -> bool:
        """Go on in another segment, unless they are too large together."""
        if sum(one.size for one in self._segments) + size > MAX_UNSAVED_BYTES:
            return False
        if self._spares and size <= SEGMENT_SIZE:
            segment = self._spares.pop()
        else:
            segment = self._new_segment(max(size, SEGMENT_SIZE))
        self._segments.append(segment)
        self._active = segment
        return True

    def _oldest(self) -> Place | None:
        """Take the oldest record that is not taken."""
        if self._returned:
            return self._returned.popleft()
        for segment in self._segments:
            for place in segment.take(1, 1):
                return place
        return None

    def _forget(self, places: Iterable[Place]) -> None:
        for segment, _, _, events, _ in places:
            self.unsaved -= events
            segment.live -= 1
            if not segment.live:
                self._empty(segment)

    def _empty(self, segment: Segment) -> None:
        """Use a segment from its start again, or keep one for the next burst."""
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
