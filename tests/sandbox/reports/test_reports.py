from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moe_middleware.sandbox import Experience, Sandbox, Status, Workspace
from moe_middleware.sandbox.memory.stores import Store
from moe_middleware.sandbox.protocol.events import ACTIONS, MILLISECONDS_FROM, Element
from moe_middleware.sandbox.reports.reports import (
    AudienceReport,
    ExperienceReport,
    Report,
    VariationReport,
    build_report,
)
from moe_middleware.sandbox.reports.statistics import chances_to_win, credible_interval
from moe_middleware.sandbox.reports.timelines import LABELS, Grain

from ...rows import each
from ..arrivals import (
    HERO,
    NOON,
    STRIP,
    action,
    audience,
    clicked,
    element,
    people,
    shown,
)
from ..calls import Api

STRANGERS = ("0" * 24, "f" * 24)


WORKSPACE = Workspace(
    experiences=(
        Experience(
            key="hero",
            name="Hero",
            cid_token=HERO,
            audiences=(audience("5A", 50, 50), audience("6B", 25, 75)),
        ),
        Experience(
            key="strip",
            name="Strip",
            cid_token=STRIP,
            audiences=(audience("5A", 100),),
            status=Status.PAUSED,
        ),
    )
)


def report_of(
    *elements: Element, workspace: Workspace = WORKSPACE, key: str | None = None
) -> Report:
    store = Store(workspace=workspace)
    store.record(elements, NOON)
    return build_report(store, workspace, now=NOON, experience_key=key)


def hero(report: Report) -> ExperienceReport:
    return report.experiences[0]


# --- figures ---------------------------------------------------------------------


def test_nothing_counted_is_a_report_of_zeros() -> None:
    report = report_of()

    assert [one.key for one in report.experiences] == ["hero", "strip"]
    assert [one.status for one in report.experiences] == ["Active", "Paused"]
    assert (report.impressions, report.clicks, report.ctr) == (0, 0, None)
    assert (report.unknown, report.over_time, report.misdated) == (None, (), 0)
    first, second = hero(report).audiences[1].variations
    assert (first.ctr, first.share, first.expected_share) == (None, None, 0.25)
    assert (first.low, first.high) == pytest.approx((0.025, 0.975))
    assert (first.chance_to_win, second.chance_to_win) == pytest.approx((0.5, 0.5))
    assert hero(report).audiences[1].split_p_value is None


def test_published_figures_come_out_of_real_events() -> None:
    report = report_of(
        *people(50, clicks=20, variation="1"), *people(50, clicks=25, variation="2")
    )

    first, second = hero(report).audiences[0].variations
    assert (first.ctr, second.ctr) == (0.4, 0.5)
    assert [round(100 * x) for x in (first.low, first.high)] == [28, 54]
    assert [round(100 * x) for x in (second.low, second.high)] == [37, 63]
    assert second.chance_to_win is not None
    assert round(100 * second.chance_to_win) == 84
    (only,) = report.experiences[1].audiences[0].variations
    assert only.chance_to_win is None


def test_clicks_are_reported_by_b_id_the_most_clicked_first() -> None:
    report = report_of(
        element(
            *(clicked(f"m{n}", b_id="More") for n in range(3)),
            *(clicked(f"a{n}", b_id="Ask") for n in range(2)),
            clicked("b", b_id="Buy"),
            clicked("without"),
            shown("s", b_id="Buy"),
        )
    )

    one = hero(report).audiences[0].variations[0]
    assert list(one.clicks_by_b_id.items()) == [("More", 3), ("Ask", 2), ("Buy", 1)]
    assert one.clicks == 7


def test_split_is_compared_with_the_percentages() -> None:
    report = report_of(*people(60, variation="1"), *people(40, variation="2"))

    found = hero(report).audiences[0]
    assert [one.share for one in found.variations] == [0.6, 0.4]
    assert [one.expected_share for one in found.variations] == [0.5, 0.5]
    assert found.split_p_value == pytest.approx(0.0455, abs=1e-4)


def test_one_experience_may_be_asked_for() -> None:
    elements = [element(shown("a"), shown("b", token=STRIP), shown("c", token="x"))]

    report = report_of(*elements, key="strip")

    assert [one.key for one in report.experiences] == ["strip"]
    assert (report.impressions, report.unknown) == (1, None)
    assert report.over_time == report.experiences[0].over_time
    with pytest.raises(KeyError):
        report_of(key="none-such")


# --- over time -------------------------------------------------------------------


def at(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp())


def timeline(times: Iterable[int], zone: str) -> tuple[Grain, list[tuple[str, int]]]:
    actions = [shown(str(number), at=at) for number, at in enumerate(times)]
    report = report_of(element(*actions), workspace=replace(WORKSPACE, timezone=zone))
    assert report.over_time == hero(report).over_time
    return report.grain, [(one.label, one.impressions) for one in report.over_time]


def test_midnight_that_comes_twice_begins_one_day() -> None:
    zone = "Atlantic/Azores"
    times = [
        at("2026-10-24 23:59", zone),
        at("2026-10-25 00:00", zone),
        at("2026-10-25 00:30", zone) + 3600,
        at("2026-10-27 12:00", zone),
    ]

    assert timeline(times, zone)[1][:2] == [("2026-10-24", 1), ("2026-10-25", 2)]


def test_long_stretches_are_reported_by_month_and_by_year() -> None:
    winter = [at("2025-11-30 23:59"), at("2026-01-01"), at("2026-04-30")]
    ages = [at("1970-01-01"), at("2026-01-01"), at("4000-01-01")]

    assert timeline(winter, "UTC") == (
        Grain.MONTH,
        [
            *(("2025-11", 1), ("2025-12", 0), ("2026-01", 1)),
            *(("2026-02", 0), ("2026-03", 0), ("2026-04", 1)),
        ],
    )
    assert timeline(ages, "Europe/Lisbon") == (
        Grain.YEAR,
        [("1970", 1), ("2026", 1), ("4000", 1)],
    )


# --- against a naive recount -----------------------------------------------------

ZONES = (
    *("UTC", "Asia/Kolkata", "America/New_York", "Asia/Kathmandu"),
    *("Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"),
)
CLOCK_CHANGES = (at("2026-03-08 07:00"), at("2026-10-03 15:30"), at("2011-12-30"))
TIMES = st.one_of(
    st.sampled_from(CLOCK_CHANGES).flatmap(
        lambda change: st.integers(change - 100_000, change + 100_000)
    ),
    st.integers(NOON - 90_000, NOON),
    st.integers(NOON - 10**8, NOON),
    # Times are counted by quarters of an hour, this last one in milliseconds.
    st.integers(0, MILLISECONDS_FROM - 900),
    st.integers(MILLISECONDS_FROM, 10**13),
)
CUSTOMERS = ["ann", "ben", "cat", "dan"]
TOKENS = [HERO, HERO, HERO, STRIP, *STRANGERS]
AUDIENCES = ["5A", "5A", "6B", "9Z"]
VARIATIONS = ["1", "1", "2", "2", "9"]
B_IDS = [None, "Buy", "More"]
ARRIVALS = st.lists(
    st.builds(
        lambda customer, **fields: element(action(**fields), customer=customer),
        customer=st.sampled_from(CUSTOMERS),
        uuid=st.integers(0, 100).map(str),
        clicked=st.booleans(),
        token=st.sampled_from(TOKENS),
        audience=st.sampled_from(AUDIENCES),
        variation=st.sampled_from(VARIATIONS),
        b_id=st.sampled_from(B_IDS),
        at=TIMES,
    ),
    max_size=60,
)

Event = dict[str, Any]


def totals(events: Sequence[Event], *, who: str = "customer_id") -> dict[str, Any]:
    shows = [event for event in events if event["action"] == ACTIONS[0]]
    clicks = [event for event in events if event["action"] == ACTIONS[1]]
    return {
        "impressions": len(shows),
        "unique_impressions": len({event[who] for event in shows}),
        "clicks": len(clicks),
        "unique_clicks": len({event[who] for event in clicks}),
        "ctr": len(clicks) / len(shows) if shows else None,
    }


def recount_over_time(
    events: Sequence[Event], grain: Grain, zone: str
) -> dict[str, tuple[int, int]]:
    counts: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["event_time"] < MILLISECONDS_FROM:
            moment = datetime.fromtimestamp(event["event_time"], UTC)
            label = moment.astimezone(ZoneInfo(zone)).strftime(LABELS[grain])
            counts[label, event["action"]] += 1
    labels = {label for label, _ in counts}
    return {
        label: (counts[label, ACTIONS[0]], counts[label, ACTIONS[1]])
        for label in labels
    }


def check_totals(
    report: ExperienceReport | AudienceReport | VariationReport, events: Sequence[Event]
) -> None:
    expected = totals(events)
    assert {name: getattr(report, name) for name in expected} == expected


def check_variation(
    report: VariationReport, events: Sequence[Event], audience: Sequence[Event]
) -> None:
    check_totals(report, events)
    saw = {one["customer_id"] for one in events if one["action"] == ACTIONS[0]}
    did = {one["customer_id"] for one in events if one["action"] == ACTIONS[1]}
    assert report.converted == len(saw & did)
    assert (report.low, report.high) == credible_interval(len(saw & did), len(saw))
    assert report.clicks_by_b_id == Counter(
        one["b_id"] for one in events if one["action"] == ACTIONS[1] and one["b_id"]
    )
    reached = len(
        {
            (one["customer_id"], one["variation_id"])
            for one in audience
            if one["action"] == ACTIONS[0]
        }
    )
    assert report.share == (len(saw) / reached if reached else None)


def check_experience(report: ExperienceReport, events: Sequence[Event]) -> None:
    check_totals(report, events)
    listed = {one.audience_id for one in report.audiences}
    assert {event["audience_id"] for event in events} <= listed
    for group in report.audiences:
        of_it = [one for one in events if one["audience_id"] == group.audience_id]
        check_totals(group, of_it)
        listed = {one.variation_id for one in group.variations}
        assert {event["variation_id"] for event in of_it} <= listed
        for one in group.variations:
            id = one.variation_id
            check_variation(one, [e for e in of_it if e["variation_id"] == id], of_it)
        rivals = [one for one in group.variations if one.chance_to_win is not None]
        if rivals:
            counted = tuple((one.converted, one.unique_impressions) for one in rivals)
            assert chances_to_win(counted) == tuple(r.chance_to_win for r in rivals)


@given(ARRIVALS, st.sampled_from(ZONES), st.integers(1, 7))
@example([], "UTC", 1)
@example(
    [
        element(shown("0", at=MILLISECONDS_FROM - 10**7)),
        element(shown("1", at=MILLISECONDS_FROM)),
        element(shown("2", at=NOON)),
    ],
    "UTC",
    1,
)
def test_report_equals_a_recount_of_the_raw_events(
    arrivals: list[Element], zone: str, call_size: int
) -> None:
    workspace = replace(WORKSPACE, timezone=zone)
    store = Store(workspace=workspace)
    for start in range(0, len(arrivals), call_size):
        store.record(arrivals[start : start + call_size], NOON)

    report = build_report(store, workspace, now=NOON)

    events = store.events()
    for one in report.experiences:
        of_it = [event for event in events if event["experience_key"] == one.key]
        check_experience(one, of_it)
    for event in events:
        # A stranger's customers count once for each of the strangers.
        event["who"] = event["customer_id"], event["attributes"]["cid"][:24]
    strange = [event for event in events if event["experience_key"] is None]
    assert (report.unknown is None) == (strange == [])
    if report.unknown:
        expected = totals(strange, who="who")
        assert {n: getattr(report.unknown, n) for n in expected} == expected
    expected = totals(events)
    assert report.impressions == expected["impressions"]
    assert (report.clicks, report.ctr) == (expected["clicks"], expected["ctr"])
    dated = {one[0]: one[1:] for one in report.over_time if one[1:] != (0, 0)}
    assert dated == recount_over_time(events, report.grain, zone)
    labels = [one.label for one in report.over_time]
    assert labels == sorted(set(labels))
    late = [one for one in events if one["event_time"] >= MILLISECONDS_FROM]
    assert report.misdated == len(late)


# --- over HTTP -------------------------------------------------------------------


def served(*elements: Element, workspace: Workspace = WORKSPACE) -> Api:
    sandbox = Sandbox(workspace, clock=lambda: NOON)
    sandbox.store.record(elements, NOON)
    return Api(sandbox)


async def test_json_is_the_whole_report() -> None:
    api = served(element(shown("a"), clicked("b", b_id="Buy")))

    response = await api.send("GET", "/_sandbox/report", headers={})

    document = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert set(document) == {
        *("generated_at", "timezone", "grain", "impressions", "clicks", "ctr"),
        *("experiences", "unknown", "over_time", "misdated"),
    }
    assert document["over_time"] == [
        {"label": "2026-09-21 14:00", "impressions": 1, "clicks": 1}
    ]
    first = document["experiences"][0]["audiences"][0]["variations"][0]
    assert first["clicks_by_b_id"] == {"Buy": 1}
    assert first["chance_to_win"] == pytest.approx(2 / 3)
    assert document["unknown"] is None
    one = await api.send("GET", "/_sandbox/report?experience_key=strip", headers={})
    assert [one["key"] for one in one.json()["experiences"]] == ["strip"]
    for path in ("report", "report.csv"):
        missing = await api.send("GET", f"/_sandbox/{path}?experience_key=x")
        assert missing.status_code == 404
        assert missing.json()["description"] == "No experience has this key."


async def test_csv_has_a_line_for_everything() -> None:
    api = served(
        element(shown("a"), clicked("b", b_id="Buy"), shown("c", token="x", at=0))
    )

    response = await api.send("GET", "/_sandbox/report.csv", headers={})

    lines = list(csv.DictReader(io.StringIO(response.text)))
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert "sandbox-report.csv" in response.headers["content-disposition"]
    assert [(line["level"], line["experience_key"]) for line in lines] == [
        ("experience", "hero"),
        ("audience", "hero"),
        ("variation", "hero"),
        ("b_id", "hero"),
        ("variation", "hero"),
        ("audience", "hero"),
        ("variation", "hero"),
        ("variation", "hero"),
        ("experience", "strip"),
        ("audience", "strip"),
        ("variation", "strip"),
        ("experience", "unknown"),
    ]
    assert (lines[2]["ctr"], lines[4]["ctr"]) == ("1.0", "")
    assert (lines[3]["b_id"], lines[3]["clicks"]) == ("Buy", "1")


@each(
    "text",
    ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", " =1", "＝1"],  # noqa: RUF001
)
async def test_csv_holds_no_formula(text: str) -> None:
    text += ' A "fine", long\nname; é'
    experience = replace(WORKSPACE.experiences[0], name=text)
    workspace = replace(WORKSPACE, experiences=(experience,))
    api = served(
        element(clicked("a", b_id=text, variation=text), shown("b", audience=text)),
        workspace=workspace,
    )

    response = await api.send("GET", "/_sandbox/report.csv", headers={})

    rows = list(csv.reader(io.StringIO(response.text, newline="")))
    cells = [cell for row in rows for cell in row]
    assert text not in cells
    assert cells.count(f"'{text}") >= 4
    for cell in cells:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", " "))


async def test_csv_has_no_digits_of_the_machines_own() -> None:
    api = served(*people(39, clicks=1), element(shown("b", variation="2")))

    response = await api.send("GET", "/_sandbox/report.csv", headers={})

    cells = [cell for row in csv.reader(io.StringIO(response.text)) for cell in row]
    shares = [cell for cell in cells if cell.replace(".", "", 1).isdigit()]
    assert "0.025641" in shares
    assert max(len(cell.partition(".")[2]) for cell in shares) == 6
