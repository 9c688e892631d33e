"""Numbers, times and values in words for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NOTHING = "\N{EN DASH}"


def count(value: int) -> str:
    """Return a number of things, as in ``12,345``."""
    return f"{value:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share from 0 to 1 as a percentage; a dash where there is none."""
    return NOTHING if share is None else f"{share * 100:.{digits}f}%"


def plural(value: int, one: str, many: str | None = None) -> str:
    """Return a number and what is counted."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def clock(at: float, zone: tzinfo = UTC) -> str:
    """Return an instant in unix seconds as a time of the day."""
    return _moment(at, zone).strftime("%H:%M:%S")


def moment(at: float, zone: tzinfo = UTC) -> str:
    """Return an instant in unix seconds as day and time."""
    return _moment(at, zone).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float) -> str:
    """Return an instant in unix seconds for machines."""
    return _moment(at, UTC).isoformat(timespec="milliseconds")


def duration(seconds: float) -> str:
    """Return a duration in seconds, in the unit that people would use."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def short(text: str, length: int = 14) -> str:
    """Return an id that fits a narrow column: a browser's id is long and random."""
    return text if len(text) <= length else f"{text[: length - 4]}…"


def value(given: Any) -> str:
    """Return a payload value or an attribute as a person would write it."""
    if isinstance(given, str):
        return given
    return json.dumps(given, ensure_ascii=False, indent=2, default=str)


def zone(name: str | None) -> tzinfo:
    """Return the timezone of this name; UTC for an unknown name."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def _moment(at: float, zone: tzinfo) -> datetime:
    try:
        return datetime.fromtimestamp(at, zone)
    except (OverflowError, ValueError, OSError):
        # A time in milliseconds lies beyond the year 9999.
        return datetime.fromtimestamp(0, zone)


FILTERS: dict[str, Callable[..., str]] = {
    "clock": clock,
    "count": count,
    "duration": duration,
    "iso": iso,
    "moment": moment,
    "percent": percent,
    "plural": plural,
    "short": short,
    "value": value,
}
