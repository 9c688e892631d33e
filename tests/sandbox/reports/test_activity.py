"""Impressions and clicks over time, as the pages' charts show them."""

from __future__ import annotations

from dataclasses import replace

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.reports.activity import Activity, read_activity
from moe_middleware.sandbox.reports.timelines import Grain

from ...rows import each
from ..arrivals import element, shown
from ..conftest import NOW
from ..pages.conftest import impression

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def activity(
    sandbox: Sandbox, window: float | None = None, token: str | None = None
) -> Activity:
    return read_activity(
        sandbox.store, sandbox.workspace, now=NOW, window=window, cid_token=token
    )


def filled(found: Activity) -> list[tuple[str, int, int]]:
    """The buckets in which anything happened."""
    return [
        (one.label, one.impressions, one.clicks)
        for one in found.buckets
        if one.impressions or one.clicks
    ]


def test_first_minutes_are_reported_by_minute(sandbox: Sandbox) -> None:
    for before in (0, 1, 1, 12):
        impression(sandbox, f"ann-{before}", at=NOW - before * MINUTE)
    impression(sandbox, "ann", at=NOW - MINUTE, clicked=True)

    found = activity(sandbox)

    # NOW is 14:13:20.
    assert found.grain is Grain.MINUTE
    assert filled(found) == [
        ("2026-09-21 14:01", 1, 0),
        ("2026-09-21 14:12", 2, 1),
        ("2026-09-21 14:13", 1, 0),
    ]
    assert len(found.buckets) == 30


@each(
    ("ago", "grain"),
    [
        (0.0, Grain.MINUTE),
        (HOUR, Grain.MINUTE),
        (3 * HOUR, Grain.QUARTER),
        (23 * HOUR, Grain.QUARTER),
        (3 * DAY, Grain.HOUR),
        (30 * DAY, Grain.DAY),
        (900 * DAY, Grain.MONTH),
        (15_000 * DAY, Grain.YEAR),
    ],
)
def test_grain_suits_the_time_that_passed(ago: float, grain: Grain) -> None:
    sandbox = Sandbox(clock=lambda: NOW)
    impression(sandbox, "ann", at=NOW - ago)
    impression(sandbox, "ben", at=NOW)

    found = activity(sandbox)

    assert found.grain is grain
    assert sum(one.impressions for one in found.buckets) == 2
    labels = [one.label for one in found.buckets]
    assert labels == sorted(set(labels))
    assert 2 <= len(labels) <= 200


@each(
    ("window", "inside", "grain"),
    [
        (HOUR, 2, Grain.MINUTE),
        (DAY, 3, Grain.QUARTER),
        (7 * DAY, 4, Grain.HOUR),
        (None, 5, Grain.DAY),
    ],
)
def test_window_holds_what_happened_in_it(
    window: float | None, inside: int, grain: Grain
) -> None:
    sandbox = Sandbox(clock=lambda: NOW)
    for ago in (0.0, 50 * MINUTE, 20 * HOUR, 6 * DAY, 20 * DAY):
        impression(sandbox, f"ann-{ago}", at=NOW - ago)

    found = activity(sandbox, window)

    assert sum(one.impressions for one in found.buckets) == inside
    assert found.grain is grain


def test_others_experiences_and_times_in_milliseconds_are_left_out(
    sandbox: Sandbox,
) -> None:
    impression(sandbox, at=NOW * 1000)
    assert activity(sandbox).buckets == ()
    impression(sandbox, token="68d3a5e2d4096b7f8f99eee3")
    impression(sandbox, "ben")
    impression(sandbox, "cleo", at=NOW - 2 * DAY)
    token = sandbox.workspace.experiences[0].cid_token

    assert sum(one.impressions for one in activity(sandbox, token=token).buckets) == 2
    assert sum(one.impressions for one in activity(sandbox).buckets) == 3
    found = activity(sandbox, HOUR, token)
    assert found.grain is Grain.MINUTE
    assert sum(one.impressions for one in found.buckets) == 1


def test_late_events_beyond_the_newest_are_reported_by_quarter(
    sandbox: Sandbox,
) -> None:
    impression(sandbox, "ann", at=NOW)
    late = [shown(str(number), at=int(NOW - 60)) for number in range(20_000)]
    sandbox.store.record([element(*late)], NOW)

    found = activity(sandbox)

    # Not all of them are among the events that minutes are read from.
    assert found.grain is Grain.QUARTER
    assert sum(one.impressions for one in found.buckets) == 20_001


def test_hours_of_the_chart_are_those_of_the_app(sandbox: Sandbox) -> None:
    sandbox.workspace = replace(sandbox.workspace, timezone="Asia/Kolkata")
    impression(sandbox, "ann", at=NOW)

    assert filled(activity(sandbox)) == [("2026-09-21 19:43", 1, 0)]
