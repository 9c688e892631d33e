"""Explains rules and outcomes in sentences for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, assert_never

from ..workspace.rules import (
    AllOf,
    AnyOf,
    AttributeMeets,
    Fact,
    FactIsIn,
    Leaf,
    NoneOf,
    Operator,
    ParameterMeets,
    Rule,
    SegmentIs,
    UserIsIn,
)
from ..workspace.workspace import Audience
from .judgements import Surroundings, facts_of, holds
from .visitors import Visitor

NOT_SENT, NOT_SET = "not sent", "not set"
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule of an audience.

    Attributes:
        text: The rule, as in ``tier is one of gold, silver``.
        given: The visitor's value, as in ``silver``, or ``not sent``, ``not set``.
        depth: The level of nesting: 0 for the audience's own rules.
    """

    text: str
    given: str
    holds: bool
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One audience, with the results of its rules."""

    audience: Audience
    holds: bool
    checks: tuple[Check, ...]


def step_of(audience: Audience, visitor: Visitor, around: Surroundings) -> Step:
    """Return the results of an audience's rules for a visitor, one by one."""
    checks = _checks(audience.rules, visitor, around, 0)
    return Step(
        audience=audience,
        # Deeper ones count within their group.
        holds=all(check.holds for check in checks if check.depth == 0),
        checks=tuple(checks),
    )


def text_of(rule: Rule) -> str:
    """Return a rule as a sentence."""
    match rule:
        case AllOf():
            return "all of these hold"
        case AnyOf():
            return "at least one of these holds"
        case NoneOf():
            return "none of these holds"
        case AttributeMeets() | ParameterMeets():
            return _comparison_text(rule)
        case UserIsIn(customer_ids):
            return _among("the customer is", customer_ids)
        case SegmentIs(name):
            return f"belongs to the segment {name}"
        case FactIsIn(fact, values, exclude):
            name = _FACTS.get(fact, fact)
            return _among(f"the {name} is{' not' if exclude else ''}", values)
        case _:
            assert_never(rule)


def _checks(
    rules: Iterable[Rule], visitor: Visitor, around: Surroundings, depth: int
) -> list[Check]:
    found = []
    for rule in rules:
        inner: list[Check] = []
        given = ""
        if isinstance(rule, AllOf | AnyOf | NoneOf):
            inner = _checks(rule.rules, visitor, around, depth + 1)
        else:
            given = _given(rule, visitor, around)
        found.append(
            Check(
                text=text_of(rule),
                given=given,
                holds=holds(rule, visitor, around),
                depth=depth,
            )
        )
        found += inner
    return found


def _given(rule: Leaf, visitor: Visitor, around: Surroundings) -> str:
    match rule:
        case AttributeMeets(name):
            return _of_customer(visitor, (visitor.attributes or {}).get(name))
        case UserIsIn():
            return _of_customer(visitor, visitor.user_id)
        case SegmentIs():
            about = "a member" if holds(rule, visitor, around) else "not a member"
            return _of_customer(visitor, about)
        case ParameterMeets(name):
            return _plain(visitor.session.get(name))
        case FactIsIn(fact):
            return next(iter(facts_of(fact, visitor, around)), NOT_SENT)
        case _:
            assert_never(rule)


def _of_customer(visitor: Visitor, value: object) -> str:
    if visitor.attributes is None:
        return f"{NOT_SENT} (unknown customer)"
    return NOT_SET if value is None else _plain(value)


_FACTS = {Fact.DAYS: "day", Fact.HOURS: "hour in UTC"}

_VERBS = {
    Operator.IS: "is",
    Operator.IS_NOT: "is not",
    Operator.CONTAINS: "contains",
    Operator.DOES_NOT_CONTAIN: "does not contain",
    Operator.STARTS_WITH: "starts with",
    Operator.ENDS_WITH: "ends with",
    Operator.ABOVE: "is above",
    Operator.BELOW: "is below",
    Operator.AT_LEAST: "is at least",
    Operator.AT_MOST: "is at most",
    Operator.ON: "is on",
    Operator.BEFORE: "is before",
    Operator.AFTER: "is after",
    Operator.HAS_ANY: "has",
    Operator.HAS_ALL: "has all of",
    Operator.HAS_NONE: "has none of",
}


def _comparison_text(rule: AttributeMeets | ParameterMeets) -> str:
    name, operands = rule.name, rule.operands
    match rule.operator:
        case Operator.EXISTS:
            return f"{name} {'exists' if operands[0] else 'does not exist'}"
        case Operator.BETWEEN:
            low, high = map(_plain, operands)
            return f"{name} is between {low} and {high}"
        case Operator.IN_THE_LAST:
            return f"{name} is in the last {_plain(operands[0])} days"
        case Operator.IN_THE_NEXT:
            return f"{name} is in the next {_plain(operands[0])} days"
        case Operator.HAS_ALL | Operator.HAS_NONE:
            sentence = f"{name} {_VERBS[rule.operator]} {_list(operands)}"
        case _:
            sentence = _among(f"{name} {_VERBS[rule.operator]}", operands)
    return f"{sentence} in any case" if rule.ignore_case else sentence


def _among(sentence: str, values: tuple[Any, ...]) -> str:
    if len(values) == 1:
        return f"{sentence} {_plain(values[0])}"
    return f"{sentence} one of {_list(values)}"


def _list(values: tuple[Any, ...]) -> str:
    return ", ".join(map(_plain, values))


def _plain(value: object) -> str:
    if value is None or value == "":
        return NOT_SENT if value is None else "empty text"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = ", ".join(map(_plain, value)) or "an empty list"
    if isinstance(value, float):
        value = f"{value:.12g}"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
