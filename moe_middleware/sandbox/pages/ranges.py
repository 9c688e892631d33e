"""The ranges of time of a chart. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Range:
    """One range.

    Attributes:
        name: The value in a page's address; empty for the default.
        label: The text for people.
        seconds: Seconds back from now; None for all events.
    """

    name: str
    label: str
    seconds: float | None


RANGES = (
    Range("", "All", None),
    Range("hour", "Last hour", _HOUR),
    Range("day", "Last 24 hours", 24 * _HOUR),
    Range("week", "Last 7 days", 7 * 24 * _HOUR),
)


def find_range(request: Request) -> Range:
    """Return the range that a page's address names, or the default."""
    name = request.query_params.get("range", "")
    return next((one for one in RANGES if one.name == name), RANGES[0])
