"""How answers of the last hour stand in when a new one has begun. Pure.

The hour is part of a variant, as MoEngage is sent the hour. If no answer of the last
hour stood in, all visitors on a site would be fetched for within the same minute.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class LastHour:
    """The answers of the last hour, while they may be served.

    Attributes:
        variant: Their variant.
        is_due: Whether they are refreshed although their ttl is not over.
    """

    variant: bytes
    is_due: bool


def last_hour(
    visitor: bytes, variant: bytes, now: float, *, ttl: float, stale: float
) -> LastHour | None:
    """Return a visitor's answers of the last hour; None if they may not be served.

    They are served for ``stale`` seconds of the new hour at most, and refreshed when
    their ttl is over. If the ttl is the longer, visitors take turns in these seconds.

    Args:
        visitor: See ``visitor_key``.
        variant: The variant of the last hour.
        now: The time, in unix seconds.
        ttl: How long an answer is fresh, in seconds.
        stale: How long an old answer may be served, in seconds.
    """
    since = now % HOUR
    if since >= stale:
        return None
    # A digest's first byte spreads visitors evenly, and on all hosts alike.
    return LastHour(variant, ttl > stale and since >= stale * visitor[0] / 256)
