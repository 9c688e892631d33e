"""What an audience may ask: operators, groups, segments, places, languages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from moe_middleware.sandbox.decisions.judgements import Surroundings, holds
from moe_middleware.sandbox.decisions.visitors import Visitor, locale_of
from moe_middleware.sandbox.workspace.geography import Geography, Location
from moe_middleware.sandbox.workspace.rules import (
    AllOf,
    AnyOf,
    AttributeMeets,
    Device,
    Fact,
    FactIsIn,
    NoneOf,
    Operator,
    Rule,
    SegmentIs,
    UserIsIn,
)
from moe_middleware.sandbox.workspace.workspace import Segment

from ..rows import each
from .arrivals import has

KOLKATA = ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()

GOLD = has("tier", "gold")
AROUND = Surroundings(
    now=NOW,
    zone=KOLKATA,
    geography=Geography(
        places=(
            ("203.0.113.0/24", Location(country="Portugal", country_code="PT")),
            ("203.0.113.128/25", Location(country="Spain", city="Vigo")),
            ("2001:db8::/32", Location(country="India", state="Kerala")),
        )
    ),
    segments={
        "readers": Segment(name="readers", customer_ids=frozenset(["ada", "nobody"])),
        "gold": Segment(name="gold", rule=GOLD),
        "both": Segment(
            name="both", rule=AnyOf((SegmentIs("readers"), SegmentIs("gold")))
        ),
    },
)


def customer(user_id: str = "ada", /, **attributes: Any) -> Visitor:
    return Visitor(user_id=user_id, attributes=attributes, session={})


def stranger(user_id: str = "", /, **session: Any) -> Visitor:
    return Visitor(user_id=user_id, attributes=None, session=session)


def meets(value: Any, operator: str, *operands: Any, ignore_case: bool = False) -> bool:
    rule = AttributeMeets("x", Operator(operator), operands, ignore_case)
    return holds(rule, customer(x=value), AROUND)


@each(
    ("value", "operator", "operands", "expected"),
    [
        ("gold", "is", ["gold", "none"], True),
        ("Gold", "is", ["gold"], False),
        ("gold", "is_not", ["silver", "gold"], False),
        ("Earl Grey", "contains", ["Grey"], True),
        ("Earl Grey", "contains", ["grey", "mint"], False),
        ("Earl Grey", "contains", [1], False),
        ("Earl Grey", "does_not_contain", ["mint"], True),
        ("Earl Grey", "starts_with", ["Ea", "No"], True),
        ("Earl Grey", "starts_with", ["Grey"], False),
        ("Earl Grey", "ends_with", ["Grey"], True),
        (7, "is", [7.0], True),
        (1, "is", [True], False),
        (0, "is_not", [False], True),
        (7, "above", [7], False),
        (7, "at_least", [7], True),
        (6, "below", [7], True),
        (7, "below", [7], False),
        (7, "at_most", [7], True),
        (True, "at_least", [0], False),
        ("7", "at_least", [0], False),
        (7, "between", [7, 9], True),
        (9, "between", [7, 9], True),
        (9.5, "between", [7, 9], False),
        ("8", "between", [7, 9], False),
        (["tea", "mug"], "contains", ["mug"], True),
        (["tea", "mug"], "does_not_contain", ["mug"], False),
        (["tea"], "has_any", ["mug", "tea"], True),
        (["tea"], "has_any", ["mug"], False),
        ("tea", "has_any", ["tea"], False),
        (["tea", "mug", "tin"], "has_all", ["tin", "tea"], True),
        (["tea"], "has_none", ["mug"], True),
        (["tea"], "has_none", ["mug", "tea"], False),
        ([1], "has_any", [True], False),
        ("x", "exists", [True], True),
        ("x", "exists", [False], False),
        (None, "exists", [True], False),
        (None, "exists", [False], True),
        (None, "is_not", ["gold"], False),
        (None, "has_none", ["gold"], False),
        ({"a": 1}, "contains", ["a"], False),
    ],
)
def test_operator_compares(
    value: Any, operator: str, operands: list[Any], expected: bool
) -> None:
    assert meets(value, operator, *operands) is expected


@each(
    ("value", "operator", "operands", "expected"),
    [
        # The workspace's day begins at 18:30 UTC of the day before.
        ("2026-11-22T18:29:59+00:00", "on", ["2026-11-22"], True),
        ("2026-11-22T18:30:00+00:00", "on", ["2026-11-22"], False),
        ("2026-11-21T18:30:00Z", "on", ["2026-11-22"], True),
        ("2026-11-22T00:00", "on", ["2026-11-22"], True),
        (NOW, "on", ["2026-11-22"], True),
        ("2026-11-21", "before", ["2026-11-22"], True),
        ("2026-11-22", "before", ["2026-11-22"], False),
        ("2026-11-22T23:59", "after", ["2026-11-22"], False),
        ("2026-11-23", "after", ["2026-11-22"], True),
        ("2026-11-22T09:01", "after", ["2026-11-22T09:00"], True),
        ("2026-11-22T09:00", "after", ["2026-11-22T09:00"], False),
        ("2026-11-22T23:59", "between", ["2026-11-01", "2026-11-22"], True),
        ("2026-11-23", "between", ["2026-11-01", "2026-11-22"], False),
        ("2026-11-22T09:00", "between", ["2026-11-01", "2026-11-22T09:00"], True),
        ("2026-11-16", "in_the_last", [7], True),
        ("2026-11-15", "in_the_last", [7], False),
        ("2026-11-23", "in_the_next", [7], True),
        ("2026-12-01", "in_the_next", [7], False),
        ("0001-01-01", "in_the_last", [7], False),
        ("yesterday", "before", ["2026-11-22"], False),
        (True, "before", ["2026-11-22"], False),
        (1e300, "before", ["2026-11-22"], False),
        (float("nan"), "after", ["2026-11-22"], False),
        (["2026-11-21"], "before", ["2026-11-22"], False),
        ("9999-12-31", "after", ["2026-11-22"], True),
    ],
)
def test_date_is_compared_in_the_workspaces_timezone(
    value: Any, operator: str, operands: list[Any], expected: bool
) -> None:
    assert meets(value, operator, *operands) is expected


def test_case_counts_unless_it_is_ignored() -> None:
    assert not meets("GOLD", "is", "gold")
    assert meets("GOLD", "is", "Gold", ignore_case=True)
    assert meets("Straße", "ends_with", "SSE", ignore_case=True)
    assert meets(["Tea"], "has_any", "TEA", ignore_case=True)
    assert meets(7, "is", 7, ignore_case=True)


SILVER = has("tier", "silver")
OFTEN = AttributeMeets("orders", Operator.AT_LEAST, (10,))


@each(
    ("rule", "who", "expected"),
    [
        (AllOf((GOLD, OFTEN)), customer(tier="gold", orders=10), True),
        (AllOf((GOLD, OFTEN)), customer(tier="gold", orders=9), False),
        (AnyOf((GOLD, OFTEN)), customer(tier="none", orders=10), True),
        (AllOf((OFTEN, AnyOf((GOLD, SILVER)))), customer(orders=11), False),
        (
            AllOf((OFTEN, AnyOf((GOLD, SILVER)))),
            customer(orders=11, tier="silver"),
            True,
        ),
        (AnyOf((AllOf((GOLD, OFTEN)), SILVER)), customer(tier="silver"), True),
        (NoneOf((GOLD, OFTEN)), customer(tier="silver", orders=1), True),
        (NoneOf((GOLD, OFTEN)), customer(tier="silver", orders=10), False),
        (NoneOf((GOLD,)), stranger(), True),
        (AttributeMeets("tier", Operator.EXISTS, (False,)), stranger(), False),
        (AttributeMeets("tier", Operator.IS_NOT, ("gold",)), stranger(), False),
        (GOLD, customer(tier="Gold"), False),
        (GOLD, customer(tier=["gold"]), False),
        (GOLD, customer(), False),
        (GOLD, stranger(tier="gold"), False),
        (UserIsIn(("ada",)), customer("ada"), True),
        (UserIsIn(("ada",)), stranger("ada"), False),
        (SegmentIs("readers"), customer("ada"), True),
        (SegmentIs("readers"), stranger("ada"), False),
        (SegmentIs("gold"), customer("bob", tier="gold"), True),
        (SegmentIs("both"), customer("ada"), True),
        (SegmentIs("both"), customer("bob"), False),
        (SegmentIs("gone"), customer("ada"), False),
    ],
)
def test_group_or_segment_holds(rule: Rule, who: Visitor, expected: bool) -> None:
    assert holds(rule, who, AROUND) is expected


@each(
    ("address", "rule", "expected"),
    [
        ("203.0.113.1", FactIsIn(Fact.COUNTRY, ("portugal",)), True),
        ("203.0.113.1", FactIsIn(Fact.COUNTRY, ("pt",)), True),
        ("203.0.113.200", FactIsIn(Fact.COUNTRY, ("Portugal",)), False),
        ("203.0.113.200", FactIsIn(Fact.CITY, ("Vigo", "Lugo")), True),
        ("::ffff:203.0.113.200", FactIsIn(Fact.CITY, ("Vigo",)), True),
        ("2001:db8::7", FactIsIn(Fact.STATE, ("Kerala",)), True),
        ("203.0.113.1", FactIsIn(Fact.COUNTRY, ("India",), exclude=True), True),
        ("2001:db8::7", FactIsIn(Fact.COUNTRY, ("India",), exclude=True), False),
        ("203.0.113.1", FactIsIn(Fact.CITY, ("Vigo",), exclude=True), False),
        ("192.0.2.1", FactIsIn(Fact.COUNTRY, ("India",), exclude=True), False),
        ("not an address", FactIsIn(Fact.COUNTRY, ("Portugal",)), False),
        (None, FactIsIn(Fact.COUNTRY, ("India",), exclude=True), False),
        (7, FactIsIn(Fact.COUNTRY, ("Portugal",)), False),
    ],
)
def test_place_is_that_of_the_narrowest_network(
    address: object, rule: Rule, expected: bool
) -> None:
    assert holds(rule, stranger(USER_IP_ADDRESS=address), AROUND) is expected


ANDROID = "Mozilla/5.0 (Linux; Android 16) Chrome/140.0"


@each(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile/15E148", Device.MOBILE),
        (f"{ANDROID} Mobile Safari/537.36", Device.MOBILE),
        ("Mozilla/5.0 (iPad; CPU OS 17_0) Mobile/15E148", Device.TABLET),
        (f"{ANDROID} Safari/537.36", Device.TABLET),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0 Safari/537.36", Device.DESKTOP),
        ("curl/8.5.0", Device.DESKTOP),
        ("", None),
        (None, None),
    ],
)
def test_device_is_read_from_the_user_agent(
    user_agent: str | None, device: Device | None
) -> None:
    who = stranger(USER_AGENT=user_agent)

    assert {one for one in Device if holds(FactIsIn(Fact.DEVICE, (one,)), who)} == {
        device
    } - {None}
    excluded = FactIsIn(Fact.DEVICE, (Device.MOBILE,), exclude=True)
    assert holds(excluded, who) is (device not in (None, Device.MOBILE))


@each(
    ("given", "attribute", "expected"),
    [
        ("pt", None, "pt"),
        ("pt-PT", None, "pt"),
        ("PT_br", None, "pt-BR"),
        ("fr", None, None),
        (None, "de", "de"),
        ("pt", "de", "pt"),
        ("fr", "de", None),
        ("", "de", "de"),
        (7, None, None),
        (None, None, None),
    ],
)
def test_language_of_the_visit_comes_before_the_customers(
    given: object, attribute: str | None, expected: str | None
) -> None:
    who = Visitor(
        user_id="ada", attributes={"locale": attribute}, session={"locale": given}
    )

    assert locale_of(who, ("pt", "pt-BR", "de")) == expected
