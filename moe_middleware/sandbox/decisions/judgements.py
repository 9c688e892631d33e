"""Checks whether a visitor matches an audience's rules. Pure: no I/O, no clock.

A rule whose input is missing does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import assert_never

from ..workspace.comparisons import compares, parameter_compares
from ..workspace.geography import NOWHERE, Geography
from ..workspace.rules import (
    AllOf,
    AnyOf,
    AttributeMeets,
    Fact,
    FactIsIn,
    NoneOf,
    ParameterMeets,
    Rule,
    SegmentIs,
    UserIsIn,
)
from ..workspace.schedules import find_zone
from ..workspace.workspace import Segment, Workspace
from .visitors import DAY, HOUR, IP_ADDRESS, USER_AGENT, Visitor, device_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The inputs of rules beside the visitor.

    Attributes:
        now: The time, in unix seconds.
        zone: The timezone of dates without one.
    """

    now: float = 0.0
    zone: tzinfo = UTC
    geography: Geography = NOWHERE
    segments: Mapping[str, Segment] = field(default_factory=dict)


NOTHING_AROUND = Surroundings()


def surroundings_of(workspace: Workspace, now: float) -> Surroundings:
    """Return the inputs of a workspace's rules, at a time in unix seconds."""
    return Surroundings(
        now=now,
        zone=find_zone(workspace.timezone),
        geography=workspace.geography,
        segments={one.name: one for one in workspace.segments},
    )


def holds(rule: Rule, visitor: Visitor, around: Surroundings = NOTHING_AROUND) -> bool:
    """Whether a rule holds for the visitor."""
    match rule:
        case AllOf(rules):
            return all(holds(one, visitor, around) for one in rules)
        case AnyOf(rules):
            return any(holds(one, visitor, around) for one in rules)
        case NoneOf(rules):
            return not any(holds(one, visitor, around) for one in rules)
        case AttributeMeets() | ParameterMeets():
            return _meets(rule, visitor, around)
        case UserIsIn(customer_ids):
            return visitor.attributes is not None and visitor.user_id in customer_ids
        case SegmentIs(name):
            return _is_in_segment(around.segments.get(name), visitor, around)
        case FactIsIn(fact, values, exclude):
            given = {one.casefold() for one in facts_of(fact, visitor, around)}
            apart = given.isdisjoint(map(str.casefold, values))
            # An unknown fact is in no list, and left out by none.
            return bool(given) and apart is exclude
        case _:
            assert_never(rule)


def facts_of(fact: Fact, visitor: Visitor, around: Surroundings) -> tuple[str, ...]:
    """Return a fact of the visit, by each of its names; empty if it is unknown."""
    match fact:
        case Fact.DAYS:
            given = visitor.session.get(DAY)
        case Fact.HOURS:
            given = visitor.session.get(HOUR)
        case Fact.DEVICE:
            given = device_of(visitor.session.get(USER_AGENT))
        case _:
            location = around.geography.locate(visitor.session.get(IP_ADDRESS))
            return location.names(fact) if location else ()
    return () if given is None else (given,)


def _meets(
    rule: AttributeMeets | ParameterMeets, visitor: Visitor, around: Surroundings
) -> bool:
    if isinstance(rule, ParameterMeets):
        meets, values = parameter_compares, visitor.session
    # An unknown customer matches no rule on attributes, not even "is not".
    elif visitor.attributes is None:
        return False
    else:
        meets, values = compares, visitor.attributes
    return meets(
        rule.operator,
        values.get(rule.name),
        rule.operands,
        ignore_case=rule.ignore_case,
        now=around.now,
        zone=around.zone,
    )


def _is_in_segment(
    segment: Segment | None, visitor: Visitor, around: Surroundings
) -> bool:
    if segment is None or visitor.attributes is None:
        return False
    if visitor.user_id in segment.customer_ids:
        return True
    return segment.rule is not None and holds(segment.rule, visitor, around)
