"""An outbox in memory, for tests and for apps that may lose events at exit."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from weakref import WeakSet

from ..concurrency.fork_hooks import register_fork_hooks
from ..models.arguments import events_of
from ..models.events import Event
from ..models.observers import Observer
from .contract import (
    MAX_EVENTS,
    UNREADABLE,
    Claim,
    Counts,
    DeadLetter,
    EventId,
    Health,
    Kind,
    WaitingEvent,
    WhenFull,
)
from .encoding import decode, encode
from .losses import Losses, observe


@dataclass
class _Row:
    id: int
    body: bytes
    claimable_at: float = 0.0
    attempts: int = 0
    relay: str = ""

    @cached_property
    def event(self) -> Event | None:
        """The event, read when a relay wants it: not while a page waits."""
        return decode(self.body)


class MemoryOutbox:
    """The outbox contract in memory.

    Args:
        max_events: The most waiting events.
        when_full: Whether new events are then refused or the oldest dropped.
        observer: Receives the counts of events.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        *,
        max_events: int = MAX_EVENTS,
        when_full: WhenFull = "refuse",
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_events = max_events
        self._when_full = when_full
        self._observer = observer or Observer()
        self._clock = clock
        self._losses = Losses("memory:", self._observer)
        self._forget()
        _outboxes.add(self)

    def _forget(self) -> None:
        """Drop all events; after a fork, the parent delivers them."""
        self._losses.forget()
        self._lock = threading.Lock()
        self._seen_at = 0.0
        self._last_id = 0
        # Before a relay claims it, an event is its body: no garbage collection sees it.
        self._rows: dict[int, _Row | bytes] = {}
        self._dead: dict[int, DeadLetter] = {}
        self._notes: dict[str, bytes] = {}

    @property
    def events(self) -> list[Event]:
        """The waiting events, oldest first."""
        with self._lock:
            return [row.event for row in self._known(self._rows) if row.event]

    # --- an event's life ---------------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        if bodies := [encode(event) for event in events_of(events)]:
            self._take(bodies)

    def append_encoded(self, customer_id: str, bodies: Sequence[bytes]) -> None:
        self._take(bodies)

    def _take(self, bodies: Sequence[bytes]) -> None:
        refused = dropped = 0
        with self._lock:
            excess = max(0, len(self._rows) + len(bodies) - self._max_events)
            if self._when_full == "refuse":
                refused = min(excess, len(bodies))
            self._keep(bodies[: len(bodies) - refused])
            if self._when_full == "drop_oldest":
                dropped = self._drop(excess)
        observe(self._observer, "appended", len(bodies))
        if refused:
            self._losses.add("refused", refused, "outbox_full")
        if dropped:
            self._losses.add("dropped", dropped, "outbox_full")

    def _keep(self, bodies: Sequence[bytes]) -> None:
        self._rows.update(enumerate(bodies, self._last_id + 1))
        self._last_id += len(bodies)

    def _known(self, ids: Iterable[int]) -> Iterator[_Row]:
        """Yield the rows of the waiting events among ids."""
        for id in ids:
            row = self._rows.get(id)
            if isinstance(row, bytes):
                row = self._rows[id] = _Row(id, row)
            if row is not None:
                yield row

    def _drop(self, count: int) -> int:
        """Drop the oldest events without a lease; return how many."""
        now, rows = self._now(), self._known(self._rows)
        idle = (row.id for row in rows if row.claimable_at <= now)
        oldest = list(itertools.islice(idle, count))
        for id in oldest:
            del self._rows[id]
        return len(oldest)

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        claims: list[Claim] = []
        unreadable: list[int] = []
        held: set[str] = set()
        with self._lock:
            now = self._now()
            for row in self._known(self._rows):
                if len(claims) == limit:
                    break
                if row.event is None:
                    unreadable.append(row.id)
                elif row.claimable_at > now:
                    if not (relay and row.relay == relay):
                        held.add(row.event.customer_id)
                elif row.event.customer_id not in held:
                    row.claimable_at = now + lease_for
                    row.attempts += 1
                    row.relay = relay
                    claims.append(
                        Claim(id=row.id, event=row.event, attempts=row.attempts)
                    )
            self._bury(unreadable, UNREADABLE)
        if unreadable:
            observe(self._observer, "buried", len(unreadable))
        return claims

    def _now(self) -> float:
        """Return the time; if the clock was set back, set the leases back, too."""
        now = self._clock()
        if now < self._seen_at:
            for row in self._rows.values():
                if isinstance(row, _Row):
                    row.claimable_at -= self._seen_at - now
        self._seen_at = now
        return now

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        with self._lock:
            until = self._now() + lease_for
            for row in self._known(_numbers(ids)):
                row.claimable_at = until

    async def ack(self, ids: Sequence[EventId]) -> None:
        with self._lock:
            for id in _numbers(ids):
                self._rows.pop(id, None)

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        with self._lock:
            at = self._now() + delay
            for row in self._known(_numbers(ids)):
                row.claimable_at = at
                row.relay = ""

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        with self._lock:
            self._bury(_numbers(ids), reason)

    def _bury(self, ids: Iterable[int], reason: str) -> None:
        for row in self._known(ids):
            del self._rows[row.id]
            self._dead[row.id] = DeadLetter(
                id=row.id,
                body=row.body,
                reason=reason,
                attempts=row.attempts,
                buried_at=self._clock(),
            )

    async def flush(self) -> None:
        """Do nothing: there is no store."""

    def close(self, *, timeout: float = 5.0) -> None:
        """Do nothing: there is no store."""

    # --- notes of processes ------------------------------------------------

    async def note(self, name: str, note: bytes) -> None:
        await self.replace_notes({}, {name: note})

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        with self._lock:
            found = {name: self._notes.get(name, b"") for name in expected}
            if found != expected:
                return False
            kept = {**self._notes, **new}
            self._notes = {name: note for name, note in kept.items() if note}
            return True

    async def notes(self) -> dict[str, bytes]:
        with self._lock:
            return dict(self._notes)

    # --- status and repair -------------------------------------------------

    async def count(self) -> Counts:
        with self._lock:
            return Counts(
                waiting=len(self._rows),
                dead=len(self._dead),
                refused=self._losses["refused"],
                dropped=self._losses["dropped"],
            )

    async def health(self, *, timeout: float = 1.0) -> Health:
        return Health(writable=True)

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        start = _number(after) if after is not None else 0
        with self._lock:
            rows = self._known(id for id in self._rows if id > start)
            return [_waiting(row) for row in itertools.islice(rows, limit)]

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        with self._lock:
            ids = (id for id in self._dead if after is None or id < _number(after))
            return [self._dead[id] for id in heapq.nlargest(limit, ids)]

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        with self._lock:
            for row in self._known([_number(id)]):
                return _waiting(row)
            return self._dead.get(_number(id))

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        with self._lock:
            chosen = _chosen(self._dead, ids, limit)
            for id in chosen:
                letter = self._dead.pop(id)
                self._keep([letter.body])
            return len(chosen)

    async def purge(
        self,
        kind: Kind,
        *,
        ids: Sequence[EventId] | None = None,
        limit: int | None = None,
    ) -> int:
        held: dict[int, _Row | bytes] | dict[int, DeadLetter]
        held = self._rows if kind == "waiting" else self._dead
        with self._lock:
            chosen = _chosen(held, ids, limit)
            for id in chosen:
                del held[id]
            return len(chosen)

    async def restore(self, kept: Sequence[WaitingEvent | DeadLetter]) -> None:
        with self._lock:
            for one in kept:
                if isinstance(one, WaitingEvent):
                    self._keep([one.body])
                else:
                    self._last_id += 1
                    self._dead[self._last_id] = replace(one, id=self._last_id)


_outboxes: WeakSet[MemoryOutbox] = WeakSet()


def _forget_after_fork() -> None:
    for outbox in list(_outboxes):
        outbox._forget()


register_fork_hooks(after_in_child=_forget_after_fork)


def _waiting(row: _Row) -> WaitingEvent:
    return WaitingEvent(
        id=row.id,
        body=row.body,
        attempts=row.attempts,
        claimable_at=row.claimable_at,
    )


def _number(id: EventId) -> int:
    """Return an id as a number; 0, which no event has, if it is none."""
    try:
        return int(id)
    except ValueError:
        return 0


def _numbers(ids: Iterable[EventId]) -> list[int]:
    return [_number(id) for id in ids]


def _chosen(
    held: Iterable[int], ids: Sequence[EventId] | None, limit: int | None
) -> list[int]:
    found = sorted(held)
    if ids is not None:
        wanted = set(_numbers(ids))
        found = [id for id in found if id in wanted]
    return found[:limit]
