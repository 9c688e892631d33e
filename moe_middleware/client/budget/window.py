"""Counts the calls that a workspace has left, by the API's own count if published.

Pure: no I/O, no clock. Every response of the API publishes the calls left in its
window, and the window's end. All of these may be made at once. Calls made after the
response's own are subtracted; the response to a later call replaces the count, so that
other users of the workspace are included. When the window has ended, all calls are
available again until a response publishes another count. If the API publishes nothing,
any 60 seconds contain at most the limit, which may be used in a burst.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...network.rate_limit import BURST_SHARE, ROUNDING, WINDOW, is_ahead, rate_for


@dataclass(frozen=True, slots=True)
class News:
    """The count that a response of the API published.

    Attributes:
        number: The number of its call: the count's ``total`` when it was taken.
        remaining: The calls left in the API's window.
        ends_in: Seconds until the window ends; negative if it has ended.
        refused: Whether the call was refused.
    """

    number: int
    remaining: int
    ends_in: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """The wish to make a call.

    Attributes:
        limit: Calls per minute.
        fixed: Whether the limit applies beside the count that the API publishes.
        smooth: Whether calls are spread evenly over the time.
        within: If they are, how long the call can wait for its turn, in seconds.
        news: The count published since the last order.
        more: Calls that were counted elsewhere since then.
    """

    limit: int
    fixed: bool = False
    smooth: bool = False
    within: float = 0.0
    news: News | None = None
    more: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """The result of an order.

    Attributes:
        granted: Whether the call may be made.
        wait: Seconds to wait before the call, or before the next order.
        number: The calls taken so far, this one included.
        left: The calls that may still be made now.
        users: The processes that share the count; 0 if they were not counted.
    """

    granted: bool
    wait: float
    number: int
    left: int
    users: int = 0


@dataclass(slots=True)
class Window:
    """One count of calls; its clock may jump.

    Attributes:
        total: All calls since the start.
        slots: The calls of the last minute, by second.
        number: The number of the call with the last published count.
        remaining: The calls left by that count.
        ends_at: The end of the API's window by that count.
        closed_until: The time until which the API refuses calls.
        used_until: The time up to which a smooth rate is used.
    """

    total: int = 0
    slots: dict[int, int] = field(default_factory=dict)
    number: int = 0
    remaining: int = 0
    ends_at: float = 0.0
    closed_until: float = 0.0
    used_until: float = 0.0

    def take(self, now: float, order: Order) -> Spent:
        """Take a call, if one is left."""
        if order.more:
            self.note(now, order.more)
        if order.news is not None:
            self.heed(now, order.news)
        if is_ahead(self.closed_until, now):
            return Spent(False, self.closed_until - now, self.total, 0)
        left = self.left(now, order)
        if left < 1:
            return Spent(False, self._free_at(now) - now, self.total, 0)
        wait = self._turn(now, order, left) if order.smooth else 0.0
        if wait > order.within:
            return Spent(False, wait, self.total, left)
        self.note(now)
        return Spent(True, wait, self.total, left - 1)

    def note(self, now: float, calls: int = 1) -> None:
        """Count calls without checking the limit."""
        second = int(now)
        # Once a second is often enough to drop the old ones.
        if second not in self.slots:
            self.slots = {
                kept: count
                for kept, count in self.slots.items()
                if now - WINDOW < kept + 1 and kept <= now
            }
        self.slots[second] = self.slots.get(second, 0) + calls
        self.total += calls

    def heed(self, now: float, news: News) -> None:
        """Apply the calls left that a response published."""
        # A count that was lost resumes at the numbers it had given out.
        self.total = max(self.total, news.number)
        ends_at = now + news.ends_in
        if news.refused:
            self.closed_until = max(self._ahead(self.closed_until, now), ends_at)
        elif news.number < self.number and is_ahead(self.ends_at, now):
            return
        self.number, self.remaining = max(self.number, news.number), news.remaining
        self.ends_at = ends_at

    def left(self, now: float, order: Order) -> int:
        """Return the number of calls that may be made now."""
        known = is_ahead(self.ends_at, now)
        if known:
            # Calls that went after the response's own are not in its count.
            left = min(self.remaining, order.limit) - (self.total - self.number)
            return min(left, self._own(now, order.limit)) if order.fixed else left
        return self._own(now, order.limit)

    def count(self, now: float, since: float) -> int:
        """Return the number of calls since a time within the last minute."""
        return sum(
            calls
            for second, calls in self.slots.items()
            if since < second + 1 and second <= now
        )

    def _own(self, now: float, limit: int) -> int:
        """Return the calls left of a limit by our own count."""
        known = is_ahead(self.ends_at, now)
        # The API does not count calls from before its window.
        begun = self.ends_at - WINDOW if known else self.ends_at
        since = begun if now - WINDOW < begun <= now else now - WINDOW
        return limit - self.count(now, since)

    def _free_at(self, now: float) -> float:
        """Return the time of the next free call when none is left."""
        if is_ahead(self.ends_at, now):
            return self.ends_at
        counted = (one for one in self.slots if now - WINDOW < one + 1 and one <= now)
        oldest = min(counted, default=now)
        # A slot's last call may have come at the end of its second.
        return max(oldest + 1 + WINDOW, now + ROUNDING)

    def _turn(self, now: float, order: Order, left: int) -> float:
        """Return the seconds until the call's turn, and reserve it."""
        rate = rate_for(order.limit)
        interval, burst = rate.interval, rate.burst
        if is_ahead(self.ends_at, now):
            # Other users call, too: spread the calls left over the time left.
            interval = max(interval, (self.ends_at - now) / left)
            burst = max(1, min(burst, int(left * BURST_SHARE)))
        start = max(self._ahead(self.used_until, now), now)
        wait = start + interval - now - interval * burst
        if wait <= interval * ROUNDING:
            wait = 0.0
        self.used_until = start + interval if wait <= order.within else start
        return wait

    def _ahead(self, moment: float, now: float) -> float:
        """Return a time, or 0.0 if it is so far ahead that the clock has jumped."""
        return moment if moment <= now + WINDOW else 0.0
