"""The budget of one process alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from ..fork_hooks import register_fork_hooks
from ..gcra import Rate, spend
from .pace import Pace


class Count:
    """What one process has used up. Thread-safe."""

    def __init__(self) -> None:
        self._used_until = 0.0
        self._lock = threading.Lock()
        _counts.add(self)

    def spend(self, now: float, rate: Rate, calls: int) -> float:
        """Take calls; return 0.0, or how long to wait until they may go, in seconds."""
        with self._lock:
            self._used_until, wait = spend(self._used_until, now, rate, calls)
        return wait

    def drain(self, now: float, rate: Rate) -> None:
        """Leave one call of the burst: the others may just have gone elsewhere."""
        with self._lock:
            self._used_until = now + rate.ahead - rate.interval


class MemoryBudget:
    """The budget contract in the process's own memory.

    Args:
        limit: Calls in a minute.
        fixed: Whether a higher limit that the API publishes makes no difference.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        limit: int,
        *,
        fixed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pace = Pace(limit, fixed=fixed)
        self._count = Count()
        self._clock = clock

    async def take(self, calls: int = 1) -> float:
        now = self._clock()
        closed_for = self._pace.closed_for(now)
        return closed_for or self._count.spend(now, self._pace.rate(now), calls)

    def learn(
        self, *, limit: int | None, remaining: int | None, resets_in: float | None
    ) -> None:
        self._pace.learn(
            self._clock(), limit=limit, remaining=remaining, resets_in=resets_in
        )

    async def aclose(self) -> None:
        pass


_counts: WeakSet[Count] = WeakSet()


def _renew_locks() -> None:
    for count in list(_counts):
        count._lock = threading.Lock()


# Another thread may have held a lock.
register_fork_hooks(after_in_child=_renew_locks)
