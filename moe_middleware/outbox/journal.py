"""A queue of appended events that are not stored yet: records in segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from zlib import crc32

from .journal_records import (
    COUNT_AT,
    COUNT_END,
    DROPPED,
    HEAD_SIZE,
    NO_RECORD,
    Record,
    new_record,
    pack_count,
    unpack_head,
)
from .journal_segments import SEGMENT_SIZE, Segment

MAX_DOUBLED = 4
"""How often the size of a new segment doubles at most while more and more events wait:
each segment takes a file descriptor of the process."""

MAX_SPARES = 3
"""Empty segments that are kept for the next burst: a new one's memory is slow at
first."""

MAX_BYTES_IN_MEMORY = 64_000_000
"""The most bytes of segments that end with the process."""


Taken = tuple[Segment, list[Record], list[int]]
"""Records of a segment, and where each of them ends; first, where they begin."""


class Journal:
    """A queue of records. Its caller holds a lock around each call except ``sync``.

    Args:
        name: The name under which a store notes its last stored record.
        most: The most waiting events; the last append may exceed it.
        new_segment: Returns a segment of at least so many bytes; also takes the error
            with which a segment could not be written.
    """

    def __init__(
        self,
        name: str,
        most: int,
        new_segment: Callable[..., Segment] = lambda size, _=None: Segment(size),
    ) -> None:
        self.name = name
        self.unsaved = 0
        self.missed = 0
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
        sequence = self._sequence + count
        check = crc32(body, sequence + (count << 16))
        try:
            # The head last: without it there is no record.
            segment.buffer[start + HEAD_SIZE : end] = body
            segment.write_head(start, size, count, sequence, check)
        except OSError as error:
            # Its disk is full or gone: the record goes to another segment.
            if self._begin_segment(HEAD_SIZE + size, error):
                return self.append(body, count)
            return False
        self.unsaved += count
        self._sequence = sequence
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
            buffer, begin = segment.untaken()
            at, end = segment.next - begin, segment.end - begin
            records: list[Record] = []
            ends = [segment.next]
            while at < end and most > 0 and most_bytes > 0:
                size, events, sequence, _ = unpack_head(buffer, at)
                if not size:
                    self._miss(segment, records)
                    at = end
                    break
                start = at + HEAD_SIZE
                at = start + size
                if events < DROPPED:
                    records.append(new_record((sequence, events, buffer[start:at])))
                    ends.append(at + begin)
                    taken += events
                    most -= events
                    most_bytes -= size
            segment.next = at + begin
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
                head = segment.buffer[at : at + HEAD_SIZE]
                size, events, _, _ = unpack_head(head)
                if not size:
                    self._miss(segment, ())
                    break
                segment.next = at + HEAD_SIZE + size
                if events < DROPPED:
                    mark = pack_count(events | DROPPED)
                    # If that fails, another process may store it after all.
                    with suppress(OSError):
                        segment.buffer[at + COUNT_AT : at + COUNT_END] = mark
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

    def _begin_segment(self, size: int, error: OSError | None = None) -> bool:
        """Continue in another segment; False if there is too much in memory."""
        if error is not None:
            self._leave_off(self._active)
            segment = self._new_segment(max(size, SEGMENT_SIZE), error)
        elif self._spares and size <= SEGMENT_SIZE:
            segment = self._spares.pop()
        else:
            doubled = SEGMENT_SIZE << min(len(self._segments), MAX_DOUBLED)
            segment = self._new_segment(max(size, doubled))
        if segment.in_memory and self._memory() + size > MAX_BYTES_IN_MEMORY:
            return False
        self._segments.append(segment)
        self._active = segment
        return True

    def _leave_off(self, segment: Segment) -> None:
        """Write no more into a segment, as a write has failed."""
        segment.size = segment.end
        self._active = Segment(0)
        if segment in self._segments and not segment.live:
            self._segments.remove(segment)
            segment.delete()

    def _miss(self, segment: Segment, taken: Iterable[Record]) -> None:
        """Forget the records behind those taken: the file was cut or is unreadable."""
        left = sum(record.events for record in taken)
        missed = segment.live - left
        self.missed += missed
        self.unsaved -= missed
        segment.live = left
        segment.next = segment.end

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
        segment.end = segment.next = start
        try:
            segment.buffer[start : start + HEAD_SIZE] = NO_RECORD
        except OSError:
            # Its records are stored, and the store knows them.
            self._leave_off(segment)
            return
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
