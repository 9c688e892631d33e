"""The schedules of experiences. Pure: the time is a parameter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo


class Status(StrEnum):
    """The statuses of an experience, spelled as in the API."""

    ACTIVE = "Active"
    PAUSED = "Paused"
    SCHEDULED = "Scheduled"
    EXPIRED = "Expired"
    DRAFT = "Draft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The time in which an experience is active.

    Attributes:
        start_at: The start, in unix seconds; None for no start.
        end_at: The end, in unix seconds, not included; None for "active continuously".
        timezone: The timezone of the schedule, for people.
    """

    start_at: float | None = None
    end_at: float | None = None
    timezone: str = "UTC"


@lru_cache
def find_zone(name: str) -> tzinfo:
    """Return a timezone by its name, as in ``Asia/Kolkata``."""
    # Windows has no database of timezones, unless the package tzdata is there.
    return UTC if name == "UTC" else ZoneInfo(name)


def local_time(at: float, timezone: str) -> str:
    """Return a time in unix seconds, as in ``2026-01-31 09:00 Asia/Kolkata``."""
    return (
        f"{datetime.fromtimestamp(at, find_zone(timezone)):%Y-%m-%d %H:%M} {timezone}"
    )


def status_at(status: Status, schedule: Schedule | None, now: float) -> Status:
    """Return the effective status at a time of a configured status.

    An Active or Scheduled one follows its schedule; a Paused one can only expire.
    """
    if schedule is None or status in (Status.DRAFT, Status.EXPIRED):
        return status
    if schedule.end_at is not None and now >= schedule.end_at:
        return Status.EXPIRED
    if status is Status.PAUSED:
        return status
    if schedule.start_at is not None and now < schedule.start_at:
        return Status.SCHEDULED
    return Status.ACTIVE
