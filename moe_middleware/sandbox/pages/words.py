"""Formats numbers, times and values for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

NOTHING = "\N{EN DASH}"


def count(value: int) -> str:
    """Return a number, as in ``12,345``."""
    return f"{value:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share from 0 to 1 as a percentage; a dash for None."""
    return NOTHING if share is None else f"{share * 100:.{digits}f}%"


def plural(value: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def clock(at: float, zone: tzinfo = UTC) -> str:
    """Return a time in unix seconds as a time of the day."""
    return _moment(at, zone).strftime("%H:%M:%S")


def moment(at: float, zone: tzinfo = UTC) -> str:
    """Return a time in unix seconds as day and time."""
    return _moment(at, zone).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float) -> str:
    """Return a time in unix seconds in the form for machines."""
    return _moment(at, UTC).isoformat(timespec="milliseconds")


def duration(seconds: float) -> str:
    """Return a duration in seconds with a unit that suits people."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def short(text: str, length: int = 14) -> str:
    """Return an id shortened for a narrow column: browsers' ids are long."""
    return text if len(text) <= length else f"{text[: length - 4]}…"


def value(given: Any) -> str:
    """Return a payload value or an attribute as people would write it."""
    if isinstance(given, str):
        return given
    return json.dumps(given, ensure_ascii=False, indent=2, default=str)


def _moment(at: float, zone: tzinfo) -> datetime:
    try:
        return datetime.fromtimestamp(at, zone)
    except (OverflowError, ValueError, OSError):
        # A time in milliseconds would be after the year 9999.
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
