"""Limits the rate of calls, so that no 60 seconds have more calls than the limit.

Pure: no I/O, no clock. This is the generic cell rate algorithm: its only state is the
time up to which the rate is used up. Each call moves it by one interval, and it may be
ahead of the clock by a burst.

Any 60 seconds can contain a burst and a minute's steady calls, so both together must be
within the limit. Of MoEngage's 10,000 calls a minute, 98 % are the steady rate (163 a
second), 1.5 % the burst of an idle workspace (150 at once). The rest stays unused, as
calls take different times to arrive: 50 calls are 0.3 seconds of the steady rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 60.0
"""The window of a limit, in seconds."""

STEADY_SHARE = 0.98
BURST_SHARE = 0.015
"""Shares of the limit."""

SMALL_BURST = 10
"""The burst of a small limit, a tenth of the limit at most. Its steady rate is lower
then: a site needs several calls at once."""

ROUNDING = 0.01
"""A share of an interval: shorter waits are rounding errors, added up in a burst."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate of calls.

    Attributes:
        interval: Seconds between two calls of a steady stream.
        burst: The most calls at once after a pause.
        ahead: Seconds by which the rate may be used up in advance.
    """

    interval: float
    burst: int
    ahead: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ahead", self.interval * self.burst)


def rate_for(limit: int) -> Rate:
    """Return the rate that keeps every 60 seconds within a limit.

    Args:
        limit: Calls in a minute, at least 1.
    """
    burst = max(1, int(limit * BURST_SHARE), min(SMALL_BURST, limit // 10))
    # With a call at both ends, a minute of steady calls has almost one more.
    steady = min(limit * STEADY_SHARE, limit - burst + STEADY_SHARE)
    return Rate(WINDOW / steady, burst)


def spend(
    used_until: float, now: float, rate: Rate, calls: int = 1
) -> tuple[float, float]:
    """Take calls from the rate, if they are allowed now.

    More calls than a burst are allowed only if the rate is idle, with a longer pause
    after them. A clock that jumps back costs no more than a burst.

    Args:
        used_until: The time up to which the rate is used up; 0 at first.
        now: The time of the same clock, in seconds.
        rate: The rate.
        calls: How many calls are made together.

    Returns:
        The new ``used_until``, to be stored in either case, and the seconds until the
        calls are allowed: 0 for now.
    """
    # After a clock was set back, the old end may lie hours ahead.
    start = min(max(used_until, now), now + rate.ahead)
    cost = calls * rate.interval
    wait = start + cost - now - max(rate.ahead, cost)
    if wait > rate.interval * ROUNDING:
        return start, wait
    return start + cost, 0.0


def is_ahead(moment: float, now: float) -> bool:
    """Whether a time is in the future, by a window at most.

    No stored time is further in the future, unless the clock jumped back.
    """
    return now < moment <= now + WINDOW
