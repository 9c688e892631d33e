"""The limit of a process's calls: the API's if published, else the configured one.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...network.published_limits import Published
from ...network.rate_limit import WINDOW, is_ahead
from .window import News, Order

MAX_LIMIT = 1_000_000
"""Calls per minute above which a published limit is taken for a mistake."""


SHORTEST_CLOSING = 1.0
"""Seconds without calls after a refusal at least: the API's reset is in whole
seconds."""

UNKNOWN_CLOSING = 5.0
"""Seconds without calls when none is left and the API publishes no reset."""


@dataclass(slots=True)
class Limits:
    """The configured limit, and the one that the API published within a minute.

    Attributes:
        limit: Calls per minute, as configured.
        fixed: Whether to ignore a higher limit that the API publishes.
        smooth: Whether calls are spread evenly over the time.
    """

    limit: int
    fixed: bool = False
    smooth: bool = False
    _published: int = 0
    _published_until: float = 0.0

    def order(self, now: float, within: float) -> Order:
        """Return the order for a call at this time."""
        limit = self.limit
        if is_ahead(self._published_until, now):
            # A fixed limit is a share of the workspace's, which may become smaller.
            limit = min(limit, self._published) if self.fixed else self._published
        return Order(limit, self.fixed, self.smooth, within)

    def learn(self, now: float, number: int, published: Published) -> News | None:
        """Apply a published limit; return the published calls left, if any."""
        limit, remaining = published.limit, published.remaining
        if limit is not None and 1 <= limit <= MAX_LIMIT:
            self._published, self._published_until = limit, now + WINDOW
        if remaining is None:
            return None
        remaining, ends_in = max(0, remaining), published.resets_in
        if ends_in is None:
            ends_in = WINDOW if remaining else UNKNOWN_CLOSING
        if published.refused:
            ends_in = max(ends_in, SHORTEST_CLOSING)
        return News(number, remaining, ends_in, published.refused)
