"""An outbox in memory: for tests, and where losing events at exit is accepted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..models import Event
from .contract import Claim, Counts, DeadLetter


@dataclass(slots=True)
class _Row:
    event: Event
    claimable_at: float
    attempts: int = 0


class MemoryOutbox:
    """The outbox contract without a disk.

    Args:
        clock: The time, in unix seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._rows: dict[int, _Row] = {}
        self._dead: dict[int, DeadLetter] = {}

    @property
    def events(self) -> list[Event]:
        """The events waiting, oldest first."""
        with self._lock:
            return [row.event for row in self._rows.values()]

    def append(self, events: Sequence[Event]) -> None:
        with self._lock:
            for event in events:
                self._rows[next(self._ids)] = _Row(event, self._clock())

    async def claim(self, *, limit: int, lease_for: float) -> list[Claim]:
        now = self._clock()
        with self._lock:
            due = [id for id, row in self._rows.items() if row.claimable_at <= now]
            return [self._lease(id, now + lease_for) for id in due[:limit]]

    def _lease(self, id: int, until: float) -> Claim:
        row = self._rows[id]
        row.claimable_at = until
        row.attempts += 1
        return Claim(id=id, event=row.event, attempts=row.attempts)

    async def ack(self, ids: Sequence[int]) -> None:
        with self._lock:
            for id in ids:
                self._rows.pop(id, None)

    async def retry(self, ids: Sequence[int], *, delay: float) -> None:
        at = self._clock() + delay
        with self._lock:
            for id in ids:
                if row := self._rows.get(id):
                    row.claimable_at = at

    async def bury(self, ids: Sequence[int], *, reason: str) -> None:
        with self._lock:
            for id in ids:
                if row := self._rows.pop(id, None):
                    self._dead[id] = DeadLetter(id=id, event=row.event, reason=reason)

    async def replay(self) -> int:
        with self._lock:
            dead, self._dead = self._dead, {}
        self.append([letter.event for letter in dead.values() if letter.event])
        return len(dead)

    async def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        with self._lock:
            return list(reversed(self._dead.values()))[:limit]

    async def count(self) -> Counts:
        with self._lock:
            return Counts(waiting=len(self._rows), dead=len(self._dead))

    async def flush(self) -> None:
        """Everything is as safe as it will ever be."""

    def close(self) -> None:
        """Nothing is open."""
