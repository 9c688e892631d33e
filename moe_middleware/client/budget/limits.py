"""Which limit holds for a process's calls: as configured, else as the API says.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...network.published_limits import Published
from ...network.rate_limit import WINDOW, is_ahead
from .window import News, Order

MAX_LIMIT = 1_000_000
"""Calls in a minute beyond which a published limit is taken for a mistake."""


SHORTEST_CLOSING = 1.0
"""Seconds, after a refusal. The API tells its reset in whole ones."""

UNKNOWN_CLOSING = 5.0
"""Seconds, where nothing is left and the API does not say until when."""


@dataclass(slots=True)
class Limits:
    """The configured limit, and the one that the API published within a minute.

    Attributes:
        limit: Calls in a minute, as configured.
        fixed: Whether a higher limit that the API publishes makes no difference.
        smooth: Whether calls are spread evenly over the time.
    """

    limit: int
    fixed: bool
    smooth: bool
    _published: int = 0
    _published_until: float = 0.0

    def order(self, now: float, within: float) -> Order:
        """Return the order of a call that wants to go now."""
        limit = self.limit
        if is_ahead(self._published_until, now):
            limit = min(limit, self._published) if self.fixed else self._published
        return Order(limit, self.fixed, self.smooth, within)

    def learn(self, now: float, number: int, said: Published) -> News | None:
        """Heed what an answer said; return what it said of the calls left."""
        if said.limit is not None and 1 <= said.limit <= MAX_LIMIT:
            self._published, self._published_until = said.limit, now + WINDOW
        if said.remaining is None:
            return None
        remaining, ends_in = max(0, said.remaining), said.resets_in
        if ends_in is None:
            ends_in = WINDOW if remaining else UNKNOWN_CLOSING
        if said.refused:
            ends_in = max(ends_in, SHORTEST_CLOSING)
        return News(number, remaining, ends_in, said.refused)
