"""Impressions and clicks over time, as the pages' charts show them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.reports.activity import Activity, read_activity
from moe_middleware.sandbox.reports.timelines import Grain

from ..conftest import NOW
from ..pages.conftest import impression

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def activity(
    sandbox: Sandbox, window: float | None = None, token: str | None = None
) -> Activity:
    return read_activity(
        sandbox.store, sandbox.workspace, now=NOW, window=window, cid_token=token
    )


def shown(found: Activity) -> list[tuple[str, int, int]]:
    """The buckets in which anything happened."""
    return [
        (one.label, one.impressions, one.clicks)
        for one in found.buckets
        if one.impressions or one.clicks
    ]


def test_first_minutes_are_reported_by_minute(sandbox: Sandbox) -> None:
    for before in (0, 1, 1, 12):
        impression(sandbox, f"ann-{before}", at=NOW - before * MINUTE)
    impression(sandbox, "ann", at=NOW - MINUTE, what="CLICKED")

    found = activity(sandbox)

    # NOW is 14:13:20.
    assert found.grain is Grain.MINUTE
    assert shown(found) == [
        ("2026-09-21 14:01", 1, 0),
        ("2026-09-21 14:12", 2, 1),
        ("2026-09-21 14:13", 1, 0),
    ]
    assert len(found.buckets) == 30


@pytest.mark.parametrize(
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
def test_grain_suits_the_time_that_passed(
    sandbox: Sandbox, ago: float, grain: Grain
) -> None:
    impression(sandbox, "ann", at=NOW - ago)
    impression(sandbox, "ben", at=NOW)

    found = activity(sandbox)

    assert found.grain is grain
    assert sum(one.impressions for one in found.buckets) == 2
    labels = [one.label for one in found.buckets]
    assert labels == sorted(set(labels))
    assert 2 <= len(labels) <= 200


@pytest.mark.parametrize(
    ("window", "inside", "grain"),
    [
        (HOUR, 2, Grain.MINUTE),
        (DAY, 3, Grain.QUARTER),
        (7 * DAY, 4, Grain.HOUR),
        (None, 5, Grain.DAY),
    ],
)
def test_window_holds_what_happened_in_it(
    sandbox: Sandbox, window: float | None, inside: int, grain: Grain
) -> None:
    for ago in (0.0, 50 * MINUTE, 20 * HOUR, 6 * DAY, 20 * DAY):
        impression(sandbox, f"ann-{ago}", at=NOW - ago)

    found = activity(sandbox, window)

    assert sum(one.impressions for one in found.buckets) == inside
    assert found.grain is grain


def test_window_without_an_event_is_empty(sandbox: Sandbox) -> None:
    impression(sandbox, "ann", at=NOW - 2 * DAY)

    assert activity(sandbox, HOUR).buckets == ()


def test_only_one_experience_may_be_asked_for(sandbox: Sandbox) -> None:
    impression(sandbox, "ann", cid="68d3a5e2d4096b7f8f99eee3_F_T_WP_AB_2_P_0_AU_2B")
    impression(sandbox, "ben")
    impression(sandbox, "cleo")
    token = sandbox.workspace.experiences[0].cid_token

    assert sum(one.impressions for one in activity(sandbox, token=token).buckets) == 2
    assert sum(one.impressions for one in activity(sandbox).buckets) == 3


def test_time_in_milliseconds_is_in_no_bucket(sandbox: Sandbox) -> None:
    impression(sandbox, "ann", at=NOW * 1000)

    assert activity(sandbox).buckets == ()


def test_late_events_beyond_the_newest_are_reported_by_quarter(
    sandbox: Sandbox,
) -> None:
    impression(sandbox, "ann", at=NOW)
    _fill(sandbox, 20_000)

    found = activity(sandbox)

    # Not all of them are among the events that minutes are read from.
    assert found.grain is Grain.QUARTER
    assert sum(one.impressions for one in found.buckets) == 20_001


def _fill(sandbox: Sandbox, number: int) -> None:
    workspace = sandbox.workspace
    one = workspace.experiences[0]
    context = {
        "cid": f"{one.cid_token}_F_T_WP_AB_1_P_0_AU_2B",
        "experience": one.name,
        "moe_locale_id": "0",
        "moe_variation_id": "1",
        "audience_name": "All Users",
        "audience_id": "2B",
    }
    with TestClient(sandbox) as client:
        for start in range(0, number, 1000):
            actions = [
                {
                    "action": "MOE_PERSONALIZATION_MESSAGE_SHOWN",
                    "moe_event_uuid": f"00000000-0000-4000-8000-{start + each:012}",
                    "event_time": int(NOW - 60),
                    "platform": "web",
                    "attributes": context,
                }
                for each in range(1000)
            ]
            elements = [
                {"customer_id": f"c{part}", "actions": actions[part::100]}
                for part in range(100)
            ]
            answer = client.post(
                "/v1/experiences/events",
                json={"elements": elements},
                headers={"MOE-APPKEY": workspace.workspace_id},
                auth=(workspace.workspace_id, workspace.api_keys[0]),
            )
            assert answer.status_code == 200, answer.text


def test_hours_of_the_chart_are_those_of_the_app(sandbox: Sandbox) -> None:
    sandbox.workspace = replace(sandbox.workspace, timezone="Asia/Kolkata")
    impression(sandbox, "ann", at=NOW)

    assert shown(activity(sandbox)) == [("2026-09-21 19:43", 1, 0)]
