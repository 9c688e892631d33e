"""The in-session attributes that every fetch sends. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

MAX_USER_AGENT_LENGTH = 1024

DAYS = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
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
    attributes = day_and_hour(now)
    if address:
        attributes["USER_IP_ADDRESS"] = address
    if user_agent:
        attributes["USER_AGENT"] = user_agent[:MAX_USER_AGENT_LENGTH]
    return attributes


def day_and_hour(now: float) -> dict[str, str]:
    """Return the attributes that depend on the time alone.

    Args:
        now: The time, in unix seconds; the day and the hour are UTC's.
    """
    return dict(_of_the_hour(int(now // 3600)))


@lru_cache(maxsize=2)
def _of_the_hour(hours: int) -> dict[str, str]:
    moment = datetime.fromtimestamp(hours * 3600, UTC)
    return {
        "DAY_OF_THE_WEEK": DAYS[moment.weekday()],
        "TIME_OF_THE_DAY": f"{moment.hour:02}",
    }
