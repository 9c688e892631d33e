"""The limit of fetches per minute. Thread-safe; the clock is a parameter."""

from __future__ import annotations

import threading
from collections.abc import Callable

WINDOW = 60
"""The length of a window, in seconds."""

Headers = tuple[tuple[bytes, bytes], ...]


class MinuteLimit:
    """Counts calls per minute of the clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._window = 0
        self._taken = 0

    def take(self, limit: int) -> bool:
        """Take one call of a window's ``limit``; False if none is left."""
        with self._lock:
            self._turn()
            if self._taken >= limit:
                return False
            self._taken += 1
            return True

    def headers(self, limit: int) -> Headers:
        """Return the headers of every response of a limited endpoint."""
        with self._lock:
            self._turn()
            remaining, window = limit - self._taken, self._window
        return (
            (b"x-ratelimit-limit", b"%d" % limit),
            # A workspace file may lower the limit within a minute.
            (b"x-ratelimit-remaining", b"%d" % max(0, remaining)),
            (b"x-ratelimit-reset", b"%d" % ((window + 1) * WINDOW)),
        )

    def reset(self) -> None:
        """Forget the calls of this window."""
        with self._lock:
            self._taken = 0

    def _turn(self) -> None:
        window = int(self._clock() // WINDOW)
        if window != self._window:
            self._window, self._taken = window, 0
