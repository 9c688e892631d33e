"""The in-session attributes that every fetch sends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from ..cache import variant_key

MAX_USER_AGENT_LENGTH = 1024

DAYS = (
    *("Monday", "Tuesday", "Wednesday", "Thursday"),
    *("Friday", "Saturday", "Sunday"),
)


def session_attributes(
    *, now: float, address: str | None, user_agent: str | None
) -> dict[str, str]:
    """Return the attributes by their API names (document: Fetch Experience).

    Args:
        now: The time, in unix seconds; the day and the hour are UTC's.
        address: The visitor's address; left out if None.
        user_agent: The User-Agent header; left out if None.
    """
    attributes = {**_of_the_hour(int(now // 3600))}
    if address:
        attributes["USER_IP_ADDRESS"] = address
    if user_agent:
        attributes["USER_AGENT"] = user_agent[:MAX_USER_AGENT_LENGTH]
    return attributes


def variants(named: Mapping[str, str], now: float) -> tuple[bytes, bytes]:
    """Return the variant of this hour's answers, and of the last hour's.

    Args:
        named: The other attributes in the cache key, which have precedence.
        now: The time, in unix seconds.
    """
    return _variants(tuple(named.items()), int(now // 3600))


# Visitors choose the values, which may be long: few are kept.
@lru_cache(maxsize=256)
def _variants(named: tuple[tuple[str, str], ...], hours: int) -> tuple[bytes, bytes]:
    this, last = (_of_the_hour(one) | dict(named) for one in (hours, hours - 1))
    return variant_key(this), variant_key(last)


OF_THE_HOUR = frozenset({"DAY_OF_THE_WEEK", "TIME_OF_THE_DAY"})
"""The names of the attributes that depend on the time alone."""


@lru_cache(maxsize=2)
def _of_the_hour(hours: int) -> dict[str, str]:
    moment = datetime.fromtimestamp(hours * 3600, UTC)
    return {
        "DAY_OF_THE_WEEK": DAYS[moment.weekday()],
        "TIME_OF_THE_DAY": f"{moment.hour:02}",
    }
