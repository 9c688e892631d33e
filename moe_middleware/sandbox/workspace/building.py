"""Builds a workspace from the sections of its file. Pure: no I/O."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

from .comparisons import parse_days
from .conditions import ComparisonSection, ConditionSection, ExcludeSection
from .experiences import (
    AudienceSection,
    ControlGroupSection,
    ExperienceSection,
    InSessionSection,
    ScheduleSection,
)
from .geography import Geography, Location
from .rules import (
    AllOf,
    AnyOf,
    AttributeMeets,
    Fact,
    FactIsIn,
    NoneOf,
    Operator,
    ParameterMeets,
    Rule,
    SegmentIs,
    UserIsIn,
)
from .schedules import Schedule, Status, find_zone
from .sections import GeographySection, SegmentSection, WorkspaceSection
from .values import plain
from .workspace import (
    Audience,
    ControlGroup,
    Customer,
    Experience,
    Segment,
    Variation,
    Workspace,
    cid_token_of,
)


def build_workspace(section: WorkspaceSection) -> Workspace:
    """Return the workspace that the sections describe."""
    switches = section.switches.model_dump()
    switches["strict"] |= section.strict
    return Workspace(
        name=section.name,
        workspace_id=section.id,
        api_keys=section.api_keys,
        timezone=section.timezone,
        customers=tuple(
            Customer(
                customer_id=user.id,
                attributes=plain(user.attributes),
                identifiers=plain(user.identifiers),
            )
            for user in section.users
        ),
        segments=tuple(_segment(*pair) for pair in section.segments.items()),
        control_group=_control_group(section.control_group),
        geography=_geography(section.geography),
        experiences=tuple(
            _experience(one, section.timezone) for one in section.experiences
        ),
        faults=section.faults,
        fetch_limit=int(section.limits.fetches_per_minute),
        active_limit=int(section.limits.active_experiences),
        **switches,
    )


def _segment(name: str, section: SegmentSection) -> Segment:
    return Segment(
        name=name,
        customer_ids=frozenset(section.users or ()),
        rule=_condition(section.where) if section.where else None,
    )


def _control_group(section: ControlGroupSection) -> ControlGroup:
    return ControlGroup(
        percent=float(section.percent), customer_ids=frozenset(section.users or ())
    )


def _geography(section: GeographySection) -> Geography:
    places = tuple(
        (network, Location(**{k: v for k, v in place.model_dump().items() if v}))
        for network, place in section.places.items()
    )
    return Geography(places=places, database=section.database)


def _experience(section: ExperienceSection, timezone: str) -> Experience:
    return Experience(
        key=section.key,
        name=section.name,
        cid_token=section.cid_token or cid_token_of(section.key),
        status=Status(section.status),
        schedule=_schedule(section.schedule, timezone) if section.schedule else None,
        control_group=_control_group(section.control_group),
        global_control_group=section.global_control_group,
        locales=section.locales,
        audiences=tuple(
            _audience(one, number) for number, one in enumerate(section.audiences)
        ),
    )


def _schedule(section: ScheduleSection, timezone: str) -> Schedule:
    name = section.timezone or timezone
    return Schedule(
        start_at=instant_of(section.start, name),
        end_at=instant_of(section.end, name),
        timezone=name,
    )


def instant_of(moment: str | None, timezone: str) -> float | None:
    """Return a local time of a timezone in unix seconds; None for None."""
    span = parse_days(moment, find_zone(timezone))
    return span[0].timestamp() if span else None


def _audience(section: AudienceSection, number: int) -> Audience:
    share = 100 / len(section.variations)
    return Audience(
        audience_id=section.id or f"{number + 1}{string.ascii_uppercase[number]}",
        name=section.name,
        rules=tuple(_audience_rules(section)),
        variations=tuple(
            Variation(
                variation_id=one.id or str(place),
                name=one.name or "",
                payload=one.payload,
                percent=share if one.percent is None else float(one.percent),
                locales=one.locales,
            )
            for place, one in enumerate(section.variations, start=1)
        ),
    )


def _audience_rules(section: AudienceSection) -> Iterator[Rule]:
    if section.where:
        rule = _condition(section.where)
        # Rules that must all hold are explained one by one, not as a group.
        yield from rule.rules if isinstance(rule, AllOf) else (rule,)
    if section.segment:
        yield SegmentIs(section.segment)
    if section.exclude and (excluded := tuple(_excluded(section.exclude))):
        yield NoneOf(excluded)
    if section.in_session:
        yield from _in_session(section.in_session)


def _excluded(section: ExcludeSection) -> Iterator[Rule]:
    if section.where:
        yield _condition(section.where)
    if section.segment:
        yield SegmentIs(section.segment)
    if section.users:
        yield UserIsIn(section.users)


def _in_session(section: InSessionSection) -> Iterator[Rule]:
    for name, parameter in section.query.items():
        wanted = [*_comparisons(parameter)]
        if parameter.include:
            wanted.append((Operator.IS, parameter.include))
        if parameter.exclude:
            wanted.append((Operator.IS_NOT, parameter.exclude))
        for operator, operands in wanted:
            yield ParameterMeets(name, operator, operands, parameter.ignore_case)
    for fact in Fact:
        if sides := getattr(section, fact):
            values = sides.exclude or sides.include
            yield FactIsIn(fact, values, sides.exclude is not None)


def _comparisons(
    section: ComparisonSection,
) -> Iterator[tuple[Operator, tuple[Any, ...]]]:
    """Yield the given operators with their operands."""
    # By name, as the fields of the section are the operators.
    for operator in Operator:
        if (given := getattr(section, operator)) is not None:
            yield operator, given if isinstance(given, tuple) else (given,)


def _condition(section: ConditionSection) -> Rule:
    if section.all:
        return AllOf(tuple(_condition(one) for one in section.all))
    if section.any:
        return AnyOf(tuple(_condition(one) for one in section.any))
    if section.segment:
        return SegmentIs(section.segment)
    assert section.attribute is not None
    ((operator, operands),) = _comparisons(section)
    return AttributeMeets(section.attribute, operator, operands, section.ignore_case)
