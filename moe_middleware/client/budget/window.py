"""What is left of a workspace's calls, by the API's own count wherever it tells it.

Pure: no I/O, no clock. Every answer of the API says how many calls its window has left,
and when that ends. What it has left may be spent at once, whatever the kind of window;
calls that went after the answer's own are taken off, and a later call's answer is the
newer truth, so that others who use the workspace are reckoned with. Once the window has
ended all calls are there again, until an answer says otherwise. Where the API says
nothing, no 60 seconds hold more than the limit, and it may be spent in a burst.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...network.rate_limit import BURST_SHARE, ROUNDING, WINDOW, is_ahead, rate_for


@dataclass(frozen=True, slots=True)
class News:
    """What an answer of the API said.

    Attributes:
        number: Which call's answer it was: the count's ``total`` when that was taken.
        remaining: How many calls are left in the API's window.
        ends_in: How long until that ends, in seconds; below zero where it has ended.
        refused: Whether the call was refused.
    """

    number: int
    remaining: int
    ends_in: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A call that wants to go.

    Attributes:
        limit: Calls in a minute.
        fixed: Whether the limit holds beside what the API says is left.
        smooth: Whether calls are spread evenly over the time.
        within: How long it can wait for its turn, in seconds, where they are.
        news: What the API said since the last order.
        more: Calls that were counted elsewhere meanwhile.
    """

    limit: int
    fixed: bool = False
    smooth: bool = False
    within: float = 0.0
    news: News | None = None
    more: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """What became of an order.

    Attributes:
        granted: Whether the call may go.
        wait: Until then, in seconds; or until asking again makes sense.
        number: How many calls have been taken, this one included.
        left: How many more may go now.
        users: How many processes share the count; 0 where they were not counted.
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
        total: Calls taken, ever.
        slots: Those of the last minute, by the second.
        number: Whose answer said last what is left.
        remaining: What it said.
        ends_at: When the API's window ends by it, or has ended.
        closed_until: Until when the API refuses.
        used_until: Up to when a smooth rate is used up.
    """

    total: int = 0
    slots: dict[int, int] = field(default_factory=dict)
    number: int = 0
    remaining: int = 0
    ends_at: float = 0.0
    closed_until: float = 0.0
    used_until: float = 0.0

    def take(self, now: float, order: Order) -> Spent:
        """Take a call, if one may go."""
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
        """Count calls that go, whatever is left."""
        second = int(now)
        if second not in self.slots:
            self.slots = {
                kept: count
                for kept, count in self.slots.items()
                if now - WINDOW < kept + 1 and kept <= now
            }
        self.slots[second] = self.slots.get(second, 0) + calls
        self.total += calls

    def heed(self, now: float, news: News) -> None:
        """Take in what an answer said."""
        # A count that was lost begins where its calls had got to.
        self.total = max(self.total, news.number)
        ends_at = now + news.ends_in
        if news.refused:
            self.closed_until = max(self._ahead(self.closed_until, now), ends_at)
        elif news.number < self.number and is_ahead(self.ends_at, now):
            return
        self.number, self.remaining = max(self.number, news.number), news.remaining
        self.ends_at = ends_at

    def left(self, now: float, order: Order) -> int:
        """Return how many calls may go now."""
        known = is_ahead(self.ends_at, now)
        if known:
            told = min(self.remaining, order.limit) - (self.total - self.number)
            return min(told, self._own(now, order.limit)) if order.fixed else told
        return self._own(now, order.limit)

    def count(self, now: float, since: float) -> int:
        """Return how many calls were taken since a moment of the last minute."""
        return sum(
            calls
            for second, calls in self.slots.items()
            if since < second + 1 and second <= now
        )

    def _own(self, now: float, limit: int) -> int:
        """Return what a limit leaves of the window, by our own calls alone."""
        known = is_ahead(self.ends_at, now)
        begun = self.ends_at - WINDOW if known else self.ends_at
        since = begun if now - WINDOW < begun <= now else now - WINDOW
        return limit - self.count(now, since)

    def _free_at(self, now: float) -> float:
        """Return when to ask again, where nothing is left."""
        if is_ahead(self.ends_at, now):
            return self.ends_at
        counted = (one for one in self.slots if now - WINDOW < one + 1 and one <= now)
        oldest = min(counted, default=now)
        return max(oldest + 1 + WINDOW, now + ROUNDING)

    def _turn(self, now: float, order: Order, left: int) -> float:
        """Return how long the call waits for its turn, which is then its own."""
        rate = rate_for(order.limit)
        interval, burst = rate.interval, rate.burst
        if is_ahead(self.ends_at, now):
            # Others call too: what is left is spread over the time left.
            interval = max(interval, (self.ends_at - now) / left)
            burst = max(1, min(burst, int(left * BURST_SHARE)))
        start = max(self._ahead(self.used_until, now), now)
        wait = start + interval - now - interval * burst
        if wait <= interval * ROUNDING:
            wait = 0.0
        self.used_until = start + interval if wait <= order.within else start
        return wait

    def _ahead(self, moment: float, now: float) -> float:
        """Return a moment, or 0.0 where it lies so far ahead that the clock jumped."""
        return moment if moment <= now + WINDOW else 0.0
