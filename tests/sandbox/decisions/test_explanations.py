"""A visitor's experiences, and why: the same answer as a fetch, for people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from moe_middleware.sandbox import sample_workspace
from moe_middleware.sandbox.decisions.decisions import Outcome
from moe_middleware.sandbox.decisions.explanations import text_of
from moe_middleware.sandbox.decisions.targeting import Explanation, explain
from moe_middleware.sandbox.decisions.visitors import Visitor
from moe_middleware.sandbox.protocol.answers import fetch_answer
from moe_middleware.sandbox.workspace.rules import (
    AllOf,
    AnyOf,
    AttributeMeets,
    Device,
    Fact,
    FactIsIn,
    NoneOf,
    Operator,
    ParameterMeets,
    Rule,
    SegmentIs,
    UserIsIn,
)
from moe_middleware.sandbox.workspace.schedules import Schedule, Status
from moe_middleware.sandbox.workspace.workspace import ControlGroup, Experience, Value

from ...rows import each
from ..arrivals import has

NOW = 1_790_000_000.0


def visitor(customer_id: str | None = None, /, **session: Any) -> Visitor:
    for one in sample_workspace().customers:
        if one.customer_id == customer_id:
            return Visitor(
                user_id=one.customer_id, attributes=one.attributes, session=session
            )
    return Visitor(user_id=customer_id or "", attributes=None, session=session)


def sample(key: str = "homepage-banner", **changes: Any) -> Experience:
    (one,) = [one for one in sample_workspace().experiences if one.key == key]
    return replace(one, **changes)


def explained(one: Experience, who: Visitor, **changes: Any) -> Explanation:
    workspace = replace(sample_workspace(), experiences=(one,), **changes)
    return explain(workspace, one, who, now=NOW)


def lines(found: Explanation) -> list[tuple[str, str, str, bool, int]]:
    return [
        (step.audience.name, check.text, check.given, check.holds, check.depth)
        for step in found.steps
        for check in step.checks
    ]


def test_served_experience_says_audience_place_and_variation() -> None:
    found = explained(sample(), visitor("alice"))

    assert found.outcome is Outcome.SERVED
    assert found.audience and found.audience.name == "Gold members"
    assert found.variation and found.variation.variation_id == "1"
    assert found.bucket is not None and 0 <= found.bucket < 50
    assert found.payload["Title"] == Value("The first flush is yours")
    assert found.context["audience_id"] == "1A"
    assert found.reason == (
        f"The audience 'Gold members' matches. Bucket {found.bucket:.2f}: "
        "variation 1 (0-50)."
    )
    assert lines(found) == [("Gold members", "tier is gold", "gold", True, 0)]


def test_audiences_are_tried_in_order_up_to_the_one_that_fits() -> None:
    found = explained(sample("promo-strip"), visitor(TIME_OF_THE_DAY="07"))

    assert [(step.audience.name, step.holds) for step in found.steps] == [
        ("Email visitors", False),
        ("Evening", False),
        ("All Users", True),
    ]
    assert lines(found) == [
        ("Email visitors", "utm_medium is email", "not sent", False, 0),
        ("Evening", "the hour in UTC is one of 18, 19, 20, 21, 22, 23", "07", False, 0),
    ]


def test_no_match_says_that_the_visitor_is_unknown() -> None:
    found = explained(sample("price-badge"), visitor("nobody"))

    assert found.outcome is Outcome.NO_MATCH
    assert found.reason == ("No audience matches. The visitor is not a known customer.")
    assert (found.audience, found.variation, found.bucket) == (None, None, None)
    assert lines(found)[0] == (
        "Gold members",
        "tier is gold",
        "not sent (unknown customer)",
        False,
        0,
    )
    assert explained(sample("price-badge"), visitor("carol")).reason == (
        "No audience matches."
    )


@each(
    ("status", "schedule", "begins"),
    [
        (
            *(Status.ACTIVE, Schedule(start_at=NOW + 1)),
            "Scheduled from 2026-09-21 14:13 UTC: the API returns only Active",
        ),
        (Status.PAUSED, None, "Paused: "),
        (
            *(Status.ACTIVE, Schedule(end_at=NOW, timezone="Asia/Kolkata")),
            "Expired since 2026-09-21 19:43 Asia/Kolkata: ",
        ),
        (Status.SCHEDULED, None, "Scheduled: "),
    ],
)
def test_experience_that_is_not_active_tries_nothing(
    status: Status, schedule: Schedule | None, begins: str
) -> None:
    found = explained(sample(status=status, schedule=schedule), visitor("alice"))

    assert found.outcome is Outcome.NOT_ACTIVE
    assert found.reason.startswith(begins)
    assert (found.steps, found.payload, found.context) == ((), {}, {})


def test_control_user_gets_nothing() -> None:
    everyone = ControlGroup(percent=100)
    own = explained(sample(control_group=everyone), visitor("alice"))
    of_all = explained(sample(), visitor("alice"), control_group=everyone)
    spared = explained(
        sample(global_control_group=False), visitor("alice"), control_group=everyone
    )

    matches = "The audience 'Gold members' matches, but the user is in the"
    assert own.reason == f"{matches} experience's control group."
    assert of_all.reason == f"{matches} global control group."
    for found in (own, of_all):
        assert found.outcome is Outcome.CONTROL_GROUP
        assert found.audience and found.audience.name == "Gold members"
        assert (found.variation, found.payload, found.context) == (None, {}, {})
    assert spared.outcome is Outcome.SERVED


def test_withheld_payload_says_which_value_and_why() -> None:
    one = sample()
    audience = one.audiences[1]
    variations = tuple(
        replace(arm, name="Named", payload={"Title": Value("{{ UserAttribute.x }}")})
        for arm in audience.variations
    )
    one = replace(one, audiences=(replace(audience, variations=variations),))

    found = explained(one, visitor("alice"))

    assert found.outcome is Outcome.WITHHELD
    assert found.variation is not None
    assert "(Named, 0-50). Its payload is withheld: Title: 'x' is" in found.reason
    assert (found.payload, found.context) == ({}, {})


def test_groups_are_reported_line_by_line() -> None:
    rules: tuple[Rule, ...] = (
        AnyOf((has("tier", "silver"), has("city", "Lisbon"))),
        NoneOf((SegmentIs("Regulars"), UserIsIn(("dave",)))),
        FactIsIn(Fact.CITY, ("Lisbon",)),
        FactIsIn(Fact.DEVICE, (Device.MOBILE,), exclude=True),
    )
    audience = replace(sample().audiences[0], name="A", rules=rules)
    who = visitor("alice", USER_IP_ADDRESS="203.0.113.9", USER_AGENT="iPhone")

    found = explained(sample(audiences=(audience,)), who)

    assert lines(found) == [
        ("A", "at least one of these holds", "", True, 0),
        ("A", "tier is silver", "gold", False, 1),
        ("A", "city is Lisbon", "Lisbon", True, 1),
        ("A", "none of these holds", "", False, 0),
        ("A", "belongs to the segment Regulars", "a member", True, 1),
        ("A", "the customer is dave", "alice", False, 1),
        ("A", "the city is Lisbon", "Lisbon", True, 0),
        ("A", "the device is not mobile", "mobile", False, 0),
    ]


def meets(operator: Operator, *operands: Any, ignore_case: bool = False) -> Rule:
    return AttributeMeets("x", operator, operands, ignore_case)


@each(
    ("rule", "text"),
    [
        (AllOf(()), "all of these hold"),
        (FactIsIn(Fact.DAYS, ("Sunday", "Monday")), "the day is one of Sunday, Monday"),
        (FactIsIn(Fact.HOURS, ("07",)), "the hour in UTC is 07"),
        (ParameterMeets("a", Operator.IS, ("",)), "a is empty text"),
        (meets(Operator.IS_NOT, "a", True), "x is not one of a, true"),
        (meets(Operator.AT_LEAST, 10.0), "x is at least 10"),
        (meets(Operator.BETWEEN, 1, 2), "x is between 1 and 2"),
        (meets(Operator.EXISTS, True), "x exists"),
        (meets(Operator.EXISTS, False), "x does not exist"),
        (meets(Operator.IN_THE_LAST, 7.0), "x is in the last 7 days"),
        (meets(Operator.IN_THE_NEXT, 7.0), "x is in the next 7 days"),
        (meets(Operator.HAS_ALL, "a", "b"), "x has all of a, b"),
        (meets(Operator.CONTAINS, "a", ignore_case=True), "x contains a in any case"),
        (meets(Operator.IS_NOT, "a" * 99), f"x is not {'a' * 80}…"),
    ],
)
def test_rule_is_a_sentence(rule: Rule, text: str) -> None:
    assert text_of(rule) == text


def test_every_operator_has_a_sentence() -> None:
    for operator in Operator:
        assert text_of(meets(operator, 1, 2)).startswith("x ")


@each("key", [one.key for one in sample_workspace().experiences])
def test_explanation_and_fetch_agree(key: str) -> None:
    customers = [visitor(who) for who in ("alice", "bob", "carol", "nobody", "")]
    visits = [
        replace(one, session={"TIME_OF_THE_DAY": hour, "utm_medium": medium})
        for one in customers
        for hour in ("07", "19")
        for medium in ("email", "web")
    ]
    half = replace(sample_workspace(), control_group=ControlGroup(percent=50))
    for workspace in (sample_workspace(), half):
        for someone in visits:
            found = explain(workspace, sample(key), someone, now=NOW)
            answer = fetch_answer(workspace, [key], someone, now=NOW)["experiences"]
            served = found.outcome is Outcome.SERVED
            assert (key in answer) is served
            if served:
                assert answer[key]["experience_context"] == found.context
                assert answer[key]["payload"] == {
                    name: {"value": one.value, "data_type": one.data_type}
                    for name, one in found.payload.items()
                }
