"""The budget of one process alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ...concurrency.fork_hooks import begin_in_children
from ...network.published_limits import Published
from .contract import Taken
from .limits import Limits
from .window import News, Order, Spent, Window


class Count:
    """The calls that one process has taken. Thread-safe."""

    def __init__(self) -> None:
        self._window = Window()
        self.begin_in_child()
        begin_in_children(self)

    def begin_in_child(self) -> None:
        # Another thread may have held the lock.
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """All calls since the start."""
        return self._window.total

    def take(self, now: float, order: Order) -> Spent:
        """Take a call, if one is left."""
        with self._lock:
            return self._window.take(now, order)

    def note(self, now: float) -> int:
        """Count a call granted by a shared store; return its number in this process."""
        with self._lock:
            self._window.note(now)
            return self._window.total

    def heed(self, now: float, news: News) -> None:
        """Apply the calls left that a response published."""
        with self._lock:
            self._window.heed(now, news)

    def of_last(self, now: float, seconds: float) -> int:
        """Return the number of calls taken within the last seconds."""
        with self._lock:
            return self._window.count(now, now - seconds)


class MemoryBudget:
    """The budget contract in the process's own memory.

    Args:
        limits: Calls per minute.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._count = Count()
        self._clock = clock

    async def take(self, within: float = 0.0) -> Taken:
        now = self._clock()
        spent = self._count.take(now, self._limits.order(now, within))
        return Taken(spent.granted, spent.wait, spent.number, spent.number)

    def learn(self, taken: Taken, published: Published) -> None:
        now = self._clock()
        news = self._limits.learn(now, taken.own, published)
        if news is not None:
            self._count.heed(now, news)

    async def warm(self) -> None:
        pass

    async def aclose(self) -> None:
        pass
