"""Divides time into buckets, in the app's timezone. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from ..memory.tables import QUARTER

DAY = 86_400
"""In seconds."""


class Grain(StrEnum):
    """The time of one bucket."""

    MINUTE = "minute"
    QUARTER = "quarter of an hour"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Bucket(NamedTuple):
    """The counts of one bucket, labelled with its beginning."""

    label: str
    impressions: int
    clicks: int


class Span(NamedTuple):
    """The quarters of an hour of one bucket, without ``end``."""

    label: str
    start: int
    end: int


LABELS = {
    Grain.MINUTE: "%Y-%m-%d %H:%M",
    Grain.QUARTER: "%Y-%m-%d %H:%M",
    Grain.HOUR: "%Y-%m-%d %H:00",
    Grain.DAY: "%Y-%m-%d",
    Grain.MONTH: "%Y-%m",
    Grain.YEAR: "%Y",
}
_LONGEST = {Grain.HOUR: 2 * DAY, Grain.DAY: 92 * DAY, Grain.MONTH: 10 * 366 * DAY}
_LONGEST_DRAWN = {Grain.MINUTE: DAY // 12, Grain.QUARTER: DAY + QUARTER} | (
    _LONGEST | {Grain.HOUR: 8 * DAY}
)


def choose_grain(first: int, last: int) -> Grain:
    """Return the finest grain with few enough buckets to read.

    Args:
        first: The first quarter of an hour with an event, counted since 1970.
        last: The last one.
    """
    return _choose(_LONGEST, first, last)


def choose_drawn_grain(first: int, last: int) -> Grain:
    """Return the grain for a chart, which has room for more buckets than a table."""
    return _choose(_LONGEST_DRAWN, first, last)


def _choose(longest: Mapping[Grain, int], first: int, last: int) -> Grain:
    seconds = (last - first) * QUARTER
    return next(
        (grain for grain, most in longest.items() if seconds <= most), Grain.YEAR
    )


def spans(first: int, last: int, grain: Grain, zone: tzinfo) -> list[Span]:
    """Return the buckets from one quarter of an hour to another, in order.

    An hour that a clock change repeats is one bucket of two hours.
    """
    if grain is Grain.QUARTER:
        every = range(first, last + 1)
        return [Span(_label(one, grain, zone), one, one + 1) for one in every]
    if grain is Grain.HOUR:
        hours = groupby(range(first, last + 1), lambda one: _label(one, grain, zone))
        return [_span(label, list(quarters)) for label, quarters in hours]
    found = []
    start = _floor(_local(first, zone), grain)
    while _quarter(start) <= last:
        end = _next(start, grain)
        found.append(
            Span(start.strftime(LABELS[grain]), _quarter(start), _quarter(end))
        )
        start = end
    return found


def label_of(at: int, grain: Grain, zone: tzinfo) -> str:
    """Return the label of the bucket that begins at a time in unix seconds."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).strftime(LABELS[grain])


def _span(label: str, quarters: list[int]) -> Span:
    return Span(label, quarters[0], quarters[-1] + 1)


def _label(quarter: int, grain: Grain, zone: tzinfo) -> str:
    return label_of(quarter * QUARTER, grain, zone)


def _local(quarter: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(quarter * QUARTER, UTC).astimezone(zone)


def _quarter(moment: datetime) -> int:
    return int(moment.timestamp() // QUARTER)


def _floor(moment: datetime, grain: Grain) -> datetime:
    # Where midnight comes twice, the day begins at the first.
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match grain:
        case Grain.MONTH:
            return day.replace(day=1)
        case Grain.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def _next(start: datetime, grain: Grain) -> datetime:
    """Return the beginning of the next bucket, by the calendar, not by the clock."""
    # The longest month and year: one step ends in the next one, wherever it began.
    within = {Grain.DAY: 1, Grain.MONTH: 31, Grain.YEAR: 366}[grain]
    return _floor(start + timedelta(days=within), grain)
