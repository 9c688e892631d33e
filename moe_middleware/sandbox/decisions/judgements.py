"""Checks whether a visitor matches an audience's rules. Pure: no I/O, no clock.

A rule whose input is missing does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import assert_never
from zoneinfo import ZoneInfo

from ..workspace.comparisons import compares, is_one_of, parameter_compares
from ..workspace.geography import NOWHERE, Geography
from ..workspace.rules import (
    AllOf,
    AnyOf,
    AttributeIs,
    AttributeMeets,
    DayIsIn,
    DeviceIsIn,
    HourIsIn,
    NoneOf,
    ParameterMeets,
    RegionIsIn,
    Rule,
    SegmentIs,
    UserIsIn,
)
from ..workspace.workspace import Segment, Workspace
from .visitors import DAY, HOUR, IP_ADDRESS, USER_AGENT, Visitor, device_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The inputs of rules beside the visitor.

    Attributes:
        now: The time, in unix seconds.
        zone: The timezone of dates without one.
        geography: The places of IP addresses.
        segments: The custom segments by name.
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
        zone=_zone(workspace.timezone),
        geography=workspace.geography,
        segments={one.name: one for one in workspace.segments},
    )


def holds(rule: Rule, visitor: Visitor, around: Surroundings = NOTHING_AROUND) -> bool:
    """Whether a rule holds for the visitor."""
    session = visitor.session
    match rule:
        case AllOf(rules):
            return all(holds(one, visitor, around) for one in rules)
        case AnyOf(rules):
            return any(holds(one, visitor, around) for one in rules)
        case NoneOf(rules):
            return not any(holds(one, visitor, around) for one in rules)
        case AttributeIs(name, values):
            return is_one_of((visitor.attributes or {}).get(name), values)
        case AttributeMeets():
            return _attribute_meets(rule, visitor, around)
        case UserIsIn(customer_ids):
            return visitor.attributes is not None and visitor.user_id in customer_ids
        case SegmentIs(name):
            return _is_in_segment(around.segments.get(name), visitor, around)
        case ParameterMeets():
            return _parameter_meets(rule, visitor, around)
        case DayIsIn(days, exclude):
            day = session.get(DAY)
            return day is not None and (day in days) is not exclude
        case HourIsIn(hours, exclude):
            hour = session.get(HOUR)
            slots = [f"{one:02}" for one in hours]
            return hour is not None and (hour in slots) is not exclude
        case DeviceIsIn(devices, exclude):
            device = device_of(session.get(USER_AGENT))
            return device is not None and (device in devices) is not exclude
        case RegionIsIn():
            return _is_in_region(rule, visitor, around)
        case _:
            assert_never(rule)


def _attribute_meets(
    rule: AttributeMeets, visitor: Visitor, around: Surroundings
) -> bool:
    if visitor.attributes is None:
        return False
    return compares(
        rule.operator,
        visitor.attributes.get(rule.name),
        rule.operands,
        ignore_case=rule.ignore_case,
        now=around.now,
        zone=around.zone,
    )


def _parameter_meets(
    rule: ParameterMeets, visitor: Visitor, around: Surroundings
) -> bool:
    return parameter_compares(
        rule.operator,
        visitor.session.get(rule.name),
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


def _is_in_region(rule: RegionIsIn, visitor: Visitor, around: Surroundings) -> bool:
    location = around.geography.locate(visitor.session.get(IP_ADDRESS))
    names = location.names(rule.region) if location else ()
    if not names:
        return False
    wanted = {name.casefold() for name in rule.names}
    return any(name.casefold() in wanted for name in names) is not rule.exclude


@lru_cache
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)
