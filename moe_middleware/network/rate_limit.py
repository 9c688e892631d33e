"""How fast calls may follow each other so that no minute ever holds too many.

Pure: no I/O, no clock. This is the generic cell rate algorithm: all that is kept is the
moment up to which the rate is used up. Every call moves it on by one interval, and it
may run ahead of the clock by a burst's worth.

What a limit is cut into, and why: within any 60 seconds, wherever they begin, a burst
and a minute's steady calls can come together, so the two must not add up to more than
the limit. Of MoEngage's 10,000 a minute, 98 % are the steady rate (163 a second, for
however long), 1.5 % the burst of an idle workspace (150 at once), and the rest stays
free: calls travel for different times, and 50 of them is what 0.3 seconds bring.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 60.0
"""What a limit counts over, in seconds."""

STEADY_SHARE = 0.98
BURST_SHARE = 0.015
"""Parts of the limit."""

SMALL_BURST = 10
"""Calls at once that a small limit allows too, up to a tenth of it; its steady rate is
then lower, for a page whose visitors may not come two at a time is of no use."""

ROUNDING = 0.01
"""Of an interval: shorter waits come from rounding, a hundred times over in a burst."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast calls may go.

    Attributes:
        interval: Between two calls of a steady stream, in seconds.
        burst: How many may go at once after a pause.
        ahead: How far the rate may be used up in advance, in seconds.
    """

    interval: float
    burst: int
    ahead: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ahead", self.interval * self.burst)


def rate_for(limit: int) -> Rate:
    """Return the rate that keeps any 60 seconds within a limit.

    Args:
        limit: Calls in a minute, at least 1.
    """
    burst = max(1, int(limit * BURST_SHARE), min(SMALL_BURST, limit // 10))
    # Counting both ends of its steady calls, a minute may hold almost one more.
    steady = min(limit * STEADY_SHARE, limit - burst + STEADY_SHARE)
    return Rate(WINDOW / steady, burst)


def spend(
    used_until: float, now: float, rate: Rate, calls: int = 1
) -> tuple[float, float]:
    """Take calls if they may go now.

    More calls than a burst go from an idle budget only; the pause after them makes up
    for it. A clock that jumps back costs a burst, and nothing else.

    Args:
        used_until: Up to when the rate is used up; 0 for a budget never touched.
        now: The time of the same clock, in seconds.
        rate: How fast calls may go.
        calls: How many go together.

    Returns:
        The new ``used_until``, to be kept in either case, and how long to wait until
        the calls may go, in seconds: 0 where they go now.
    """
    start = min(max(used_until, now), now + rate.ahead)
    cost = calls * rate.interval
    wait = start + cost - now - max(rate.ahead, cost)
    if wait > rate.interval * ROUNDING:
        return start, wait
    return start + cost, 0.0


def is_ahead(moment: float, now: float) -> bool:
    """Whether a moment lies ahead, by a window at most.

    Nothing that we note lies further ahead: where it does, the clock jumped back.
    """
    return now < moment <= now + WINDOW
