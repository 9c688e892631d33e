"""How fast one process may call: as configured, else as the API's answers teach it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import math

from ..gcra import BURST_SHARE, WINDOW, Rate, is_ahead, rate_for

MAX_LIMIT = 1_000_000
"""Calls in a minute beyond which a published limit is taken for a mistake."""

NOTICEABLE_SHARE = 0.02
"""Of the limit. That many fewer calls left than we may need are our own doing: a burst
at the window's start, and answers that bring old news."""

SHORTEST_CLOSING = 1.0
"""Seconds. The API tells its reset in whole ones."""

UNKNOWN_CLOSING = 5.0
"""Seconds, after a refusal that does not say when to ask again."""


class Pace:
    """The rate that holds right now. What it learns lasts a window at most.

    Args:
        limit: Calls in a minute, as configured.
        fixed: Whether a higher limit that the API publishes makes no difference.
    """

    def __init__(self, limit: int, *, fixed: bool) -> None:
        self._limit = limit
        self._fixed = fixed
        self._configured = rate_for(limit)
        self._published_limit, self._published = limit, self._configured
        self._published_until = 0.0
        self._slow = self._configured
        self._slow_until = 0.0
        self._closed_until = 0.0

    def rate(self, now: float) -> Rate:
        """Return how fast calls may go, at ``now`` in seconds."""
        if is_ahead(self._slow_until, now):
            return self._slow
        return self._usual(now)

    def closed_for(self, now: float) -> float:
        """Return for how long no call may go at all, in seconds."""
        closed_until = self._closed_until
        return closed_until - now if is_ahead(closed_until, now) else 0.0

    def learn(
        self,
        now: float,
        *,
        limit: int | None,
        remaining: int | None,
        resets_in: float | None,
    ) -> bool:
        """Heed what an answer said; return whether calls stop now that went before."""
        if limit is not None and 1 <= limit <= MAX_LIMIT:
            self._heed_limit(now, limit)
        if remaining is None:
            return False
        left = _within_window(resets_in)
        if remaining <= 0:
            return self._close(now, left)
        if left is not None:
            self._heed_remaining(now, remaining, left)
        return False

    def _usual(self, now: float) -> Rate:
        known = is_ahead(self._published_until, now)
        return self._published if known else self._configured

    def _heed_limit(self, now: float, limit: int) -> None:
        if self._fixed:
            limit = min(limit, self._limit)
        if limit != self._published_limit:
            self._published_limit, self._published = limit, rate_for(limit)
        self._published_until = now + WINDOW

    def _heed_remaining(self, now: float, remaining: int, left: float) -> None:
        """Spread what is left over the time left, where others call too."""
        usual = self._usual(now)
        short = left / usual.interval - remaining
        if short <= NOTICEABLE_SHARE * WINDOW / usual.interval:
            self._slow_until = 0.0
            return
        burst = max(1, min(usual.burst, int(remaining * BURST_SHARE)))
        self._slow = Rate(left / max(1, remaining - burst), burst)
        self._slow_until = now + left

    def _close(self, now: float, left: float | None) -> bool:
        was_open = not self.closed_for(now)
        pause = UNKNOWN_CLOSING if left is None else max(left, SHORTEST_CLOSING)
        self._closed_until = max(self._closed_until, now + pause)
        return was_open


def _within_window(seconds: float | None) -> float | None:
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), WINDOW)
