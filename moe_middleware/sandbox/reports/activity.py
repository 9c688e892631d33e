"""Impressions and clicks in a window of time, in buckets that suit its length.

The running counts are per quarter of an hour. Counts per minute are read from the
newest events, if these include all events of the window.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import tzinfo

from ..memory.stores import Store
from ..memory.tables import QUARTER
from ..protocol.events import MILLISECONDS_FROM
from ..workspace.schedules import find_zone
from ..workspace.workspace import Workspace
from .timelines import (
    DAY,
    Bucket,
    Grain,
    Span,
    choose_drawn_grain,
    label_of,
    spans,
)

MOST_EVENTS = 20_000
"""Events that are read for a chart in minutes; a chart of more events shows
quarters."""

MINUTE = 60
"""In seconds."""

LEAST_MINUTES = 30
LEAST_SECONDS = {
    Grain.QUARTER: DAY // 4,
    Grain.HOUR: DAY,
    Grain.DAY: 14 * DAY,
    Grain.MONTH: 365 * DAY,
}
"""Seconds that a chart covers, at least; it is empty before the first event."""

QUARTERS = """
select json_group_array(json_array(quarter, impressions, clicks)) from (
    select quarter, sum(impressions) as impressions, sum(clicks) as clicks
    from quarter
    where quarter >= :first and quarter <= :last
    and (:cid_token is null or cid_token = :cid_token)
    group by quarter order by quarter
)
"""
MINUTES = f"""
select json_group_array(json_array(minute, impressions, clicks)) from (
    select event_time / {MINUTE} as minute,
        sum(1 - clicked) as impressions, sum(clicked) as clicks
    from (
        select event_time, clicked, context_id from event
        order by id desc limit {MOST_EVENTS}
    )
    join context on context.id = context_id
    where event_time >= :first * {QUARTER} and event_time < (:last + 1) * {QUARTER}
    and (:cid_token is null or cid_token = :cid_token)
    group by minute order by minute
)
"""

_Rows = list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The impressions and clicks of a window of time.

    Attributes:
        buckets: The buckets without gaps, the oldest first; empty without any event.
    """

    grain: Grain
    buckets: tuple[Bucket, ...]


def read_activity(
    store: Store,
    workspace: Workspace,
    *,
    now: float,
    window: float | None = None,
    cid_token: str | None = None,
) -> Activity:
    """Return impressions and clicks over time, up to ``now`` in unix seconds.

    Args:
        window: Seconds to look back from now; None for all events.
        cid_token: The only experience to count; None for all.
    """
    looked_at = None
    if window is not None:
        looked_at = int(max(0.0, now - window)), int(now)
    # Without the times in milliseconds, which are of no day.
    begin, end = looked_at or (0, MILLISECONDS_FROM - QUARTER)
    values = {"cid_token": cid_token, "first": begin // QUARTER, "last": end // QUARTER}
    with store.snapshot() as query:
        quarters: _Rows = query(QUARTERS, values)
        if not quarters:
            return Activity(grain=Grain.MINUTE, buckets=())
        if looked_at is None:
            begin, end = quarters[0][0] * QUARTER, quarters[-1][0] * QUARTER
        first, last = begin // QUARTER, end // QUARTER
        grain = choose_drawn_grain(first, last)
        minutes: _Rows = query(MINUTES, values) if grain is Grain.MINUTE else []
    zone = find_zone(workspace.timezone)
    # If the sums differ, the newest events do not reach back far enough.
    if grain is Grain.MINUTE and _sum(minutes) == _sum(quarters):
        if looked_at is None:
            begin, end = minutes[0][0] * MINUTE, minutes[-1][0] * MINUTE
        buckets = _by_minute(minutes, begin // MINUTE, end // MINUTE, zone)
    else:
        grain = Grain.QUARTER if grain is Grain.MINUTE else grain
        first = min(first, last - LEAST_SECONDS.get(grain, 0) // QUARTER + 1)
        buckets = _by_span(quarters, spans(first, last, grain, zone), grain)
    return Activity(grain=grain, buckets=tuple(buckets))


def _sum(rows: _Rows) -> int:
    return sum(shown + clicked for _, shown, clicked in rows)


def _by_minute(rows: _Rows, first: int, last: int, zone: tzinfo) -> list[Bucket]:
    counted = {minute: (shown, clicked) for minute, shown, clicked in rows}
    return [
        Bucket(
            label_of(minute * MINUTE, Grain.MINUTE, zone), *counted.get(minute, (0, 0))
        )
        for minute in range(min(first, last - LEAST_MINUTES + 1), last + 1)
    ]


def _by_span(rows: _Rows, buckets: list[Span], grain: Grain) -> list[Bucket]:
    starts = [span.start for span in buckets]
    sums = [[0, 0] for _ in buckets]
    for quarter, shown, clicked in rows:
        place = bisect_right(starts, quarter) - 1
        sums[place][0] += shown
        sums[place][1] += clicked
    # Empty years show only that a clock was wrong: leave them out.
    return [
        Bucket(span.label, *both)
        for span, both in zip(buckets, sums, strict=True)
        if any(both) or grain is not Grain.YEAR
    ]
