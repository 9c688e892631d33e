"""The pages' own rules, as tables: charts, words, splits, what was typed."""

from __future__ import annotations

import xml.etree.ElementTree as tree

from moe_middleware.sandbox import Experience, Workspace
from moe_middleware.sandbox.memory.stores import Store
from moe_middleware.sandbox.pages.charts import WIDEST_BAR, Chart, draw, round_up
from moe_middleware.sandbox.pages.rendering import Links
from moe_middleware.sandbox.pages.splits import Verdict, check_split
from moe_middleware.sandbox.pages.visits import read_lines, read_visit_form
from moe_middleware.sandbox.pages.words import FILTERS
from moe_middleware.sandbox.reports.activity import Activity
from moe_middleware.sandbox.reports.reports import build_report
from moe_middleware.sandbox.reports.timelines import Bucket, Grain

from ...rows import each
from ..arrivals import HERO, NOON, audience, people


@each(
    ("highest", "edge"),
    [(0, 2), (1, 2), (2, 2), (3, 3), (9, 10), (11, 12), (100, 100), (101, 120)],
)
def test_chart_ends_at_a_round_number(highest: int, edge: int) -> None:
    assert round_up(highest) == edge


def chart_of(*buckets: tuple[str, int, int], grain: Grain = Grain.MINUTE) -> Chart:
    drawn = tuple(Bucket(*one) for one in buckets)
    chart = draw(Activity(grain=grain, buckets=drawn))
    assert chart is not None
    return chart


def bars(chart: Chart) -> list[list[dict[str, float]]]:
    """Each plot's bars, from the left."""
    names = ("x", "y", "width", "height")
    return [
        [
            {name: float(one.get(name, 0)) for name in names}
            for one in tree.fromstring(str(plot.svg)).iter()
            if one.tag == "rect"
        ]
        for plot in chart.plots
    ]


def test_chart_is_bars_alone_without_script_style_or_link() -> None:
    chart = chart_of(("2026-01-31 <b>", 3, 1), ("2026-01-31 10:01", 1, 0))
    drawings = "".join(plot.svg for plot in chart.plots)

    assert drawings.count("<rect") == 3
    # Each with a scale of its own.
    assert [plot.top for plot in chart.plots] == [3, 2]
    assert bars(chart)[1][0]["height"] == 50.0
    assert "&lt;b&gt;: 3 impressions" in drawings
    assert "10:01: 1 impression<" in drawings
    for unwanted in ("<script", "<style", "style=", "href", "<b>", "<!--"):
        assert unwanted not in drawings


@each("buckets", [1, 2, 30, 1000])
def test_no_bar_is_a_slab_and_none_overlaps(buckets: int) -> None:
    chart = chart_of(*((f"2026-01-31 {one:05}", 1, 1) for one in range(buckets)))

    for plot in bars(chart):
        assert len(plot) == buckets
        assert all(0 < bar["width"] <= WIDEST_BAR for bar in plot)
        ends = [bar["x"] + bar["width"] for bar in plot]
        starts = [bar["x"] for bar in plot]
        assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
        assert ends[-1] <= 1000


def test_chart_of_one_day_has_short_labels() -> None:
    day = chart_of(("2026-01-31 23:58", 1, 0), ("2026-01-31 23:59", 1, 0))
    night = chart_of(("2026-01-31 23:59", 1, 0), ("2026-02-01 00:00", 1, 0))
    days = chart_of(("2026-01-31", 1, 0), ("2026-02-01", 0, 0), grain=Grain.DAY)

    assert (day.day, day.ticks) == ("2026-01-31", ("23:58", "23:59"))
    assert (night.day, night.ticks[0]) == ("", "2026-01-31 23:59")
    assert (days.day, days.ticks) == ("", ("2026-01-31", "2026-02-01"))
    assert [row.label for row in days.rows] == ["2026-01-31"]


@each(
    ("name", "given", "shown"),
    [
        ("count", 1234567, "1,234,567"),
        ("percent", 0.1234, "12.3%"),
        ("percent", None, "\N{EN DASH}"),
        ("clock", 0.0, "00:00:00"),
        ("clock", 1e15, "00:00:00"),
        ("duration", 0.0123, "12.3 ms"),
        ("duration", 2.5, "2.50 s"),
        ("short", "0123456789abcdef", "0123456789…"),
        ("short", "short", "short"),
        ("value", {"a": [1, True]}, '{\n  "a": [\n    1,\n    true\n  ]\n}'),
        ("value", "text", "text"),
    ],
)
def test_values_are_written_for_people(name: str, given: object, shown: str) -> None:
    assert FILTERS[name](given) == shown


def test_links_are_below_the_mount_and_escaped() -> None:
    link = Links("/mount")

    assert link() == "/mount/"
    assert link("a b", customer="a&b c", action="") == "/mount/a%20b?customer=a%26b+c"
    assert link.experience("a/b?c#d") == "/mount/experiences/a%2Fb%3Fc%23d"


def test_lines_are_read_as_json_where_they_are_json() -> None:
    read = read_lines("tier=gold\nage = 42\n\nvip=true\ntags=[1, 2]\nodd=a=b\nnan=NaN")

    assert read == {
        "tier": "gold",
        "age": 42,
        "vip": True,
        "tags": [1, 2],
        "odd": "a=b",
        "nan": "NaN",
    }


def test_form_becomes_the_fetch_that_says_the_same() -> None:
    form = read_visit_form(
        {
            "customer_id": " alice ",
            "identifiers": "u_em=a@b.example, u_mb=123",
            "hour": "07",
            "day": "Sunday",
            "ip": "203.0.113.7",
            "device": "tablet",
            "session": "utm_medium=email\nTIME_OF_THE_DAY=23",
            "experience": "hero",
            "unknown": "field",
        }.items()
    )

    document = form.fetch_document()

    assert "Tablet" in document.pop("USER_AGENT")
    assert document == {
        "identifiers": {
            "customer_id": "alice",
            "user_identifiers": {"u_em": "a@b.example", "u_mb": "123"},
        },
        "experience_key": ["hero"],
        "TIME_OF_THE_DAY": "07",
        "DAY_OF_THE_WEEK": "Sunday",
        "USER_IP_ADDRESS": "203.0.113.7",
        "utm_medium": "email",
    }
    assert form.detailed


def test_nothing_filled_in_is_a_fetch_that_says_nothing() -> None:
    form = read_visit_form({"customer_id": " ", "experience": "hero"}.items())

    assert form.fetch_document() == {"experience_key": ["hero"]}
    assert not form.changed


@each(
    ("arms", "verdict", "part"),
    [
        ([(9, 100)], Verdict.ONE_ARM, "no split to check"),
        ([(0, 50), (0, 50)], Verdict.EARLY, "0 users so far"),
        ([(1, 50), (0, 50)], Verdict.EARLY, "1 user so far"),
        ([(510, 50), (490, 50)], Verdict.AS_EXPECTED, "53 of 100"),
        ([(600, 50), (500, 50)], Verdict.AS_EXPECTED, "fewer than 1"),
        ([(900, 50), (700, 50)], Verdict.SUSPICIOUS, "1,600 users"),
        ([(9, 100), (1, 0)], Verdict.SUSPICIOUS, "a variation of 0%"),
    ],
)
def test_split_is_judged_in_a_sentence(
    arms: list[tuple[int, float]], verdict: Verdict, part: str
) -> None:
    one = audience("5A", *(percent for _, percent in arms))
    hero = Experience(key="hero", name="Hero", cid_token=HERO, audiences=(one,))
    workspace = Workspace(experiences=(hero,))
    store = Store(workspace=workspace)
    for number, (seen, _) in enumerate(arms, start=1):
        store.record(people(seen, variation=str(number)), NOON)
    report = build_report(store, workspace, now=NOON)

    check = check_split(report.experiences[0].audiences[0])

    assert check.verdict is verdict
    assert part in check.sentence
