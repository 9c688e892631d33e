"""When an experience is on. Pure: the time is a parameter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo


class Status(StrEnum):
    """The states of an experience, spelled as on the wire."""

    ACTIVE = "Active"
    PAUSED = "Paused"
    SCHEDULED = "Scheduled"
    EXPIRED = "Expired"
    DRAFT = "Draft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """From when until when an experience is on.

    Attributes:
        start_at: In unix seconds; None for since ever.
        end_at: In unix seconds, not included; None for "active continuously".
        timezone: The one that the schedule is written in, for people.
    """

    start_at: float | None = None
    end_at: float | None = None
    timezone: str = "UTC"


def local_time(at: float, timezone: str) -> str:
    """Return an instant in unix seconds, as in ``2026-01-31 09:00 Asia/Kolkata``."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M} {timezone}"


def status_at(status: Status, schedule: Schedule | None, now: float) -> Status:
    """Return what marketing's state of an experience amounts to at a time.

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
