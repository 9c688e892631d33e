"""The in-session attributes that are sent without being asked for. Pure."""

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
        address: The visitor's own address; None is left out.
        user_agent: The User-Agent header; None is left out.
    """
    day, hour = _day_and_hour(int(now // 3600))
    attributes = {"DAY_OF_THE_WEEK": day, "TIME_OF_THE_DAY": hour}
    if address:
        attributes["USER_IP_ADDRESS"] = address
    if user_agent:
        attributes["USER_AGENT"] = user_agent[:MAX_USER_AGENT_LENGTH]
    return attributes


@lru_cache(maxsize=2)
def _day_and_hour(hours: int) -> tuple[str, str]:
    moment = datetime.fromtimestamp(hours * 3600, UTC)
    return DAYS[moment.weekday()], f"{moment.hour:02}"
