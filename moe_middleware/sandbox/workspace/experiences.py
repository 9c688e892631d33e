"""The experiences of a workspace file and their parts. Pure: no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from ...settings.validation import Mistake, Section
from ...settings.value_types import Flag
from .conditions import ExcludeSection, ParameterSection, WhereSection
from .fields import (
    CidToken,
    Date,
    Days,
    DeviceNames,
    Filled,
    Hours,
    Name,
    Names,
    NamesOrNone,
    OrListed,
    PayloadValue,
    Percent,
    ShortId,
    StatusName,
    Timezone,
)

MAX_AUDIENCES = 10
MAX_VARIATIONS = 5

Payload = dict[Name, PayloadValue]


class _SidesSection(Section):
    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if ("include" in given) is ("exclude" in given):
            yield Mistake((), "give either include or exclude")


class RegionSection(_SidesSection):
    """Some places, or all but some."""

    include: Names | None = Field(default=None, description="One of these.")
    exclude: Names | None = Field(default=None, description="None of these.")


class DeviceSection(_SidesSection):
    """Some device types, or all but some."""

    include: DeviceNames | None = Field(default=None, description="One of these.")
    exclude: DeviceNames | None = Field(default=None, description="None of these.")


class DaysSection(_SidesSection):
    """Some days, or all but some."""

    include: Days | None = Field(default=None, description="One of these.")
    exclude: Days | None = Field(default=None, description="None of these.")


class HoursSection(_SidesSection):
    """Some hours, or all but some."""

    include: Hours | None = Field(default=None, description="One of these.")
    exclude: Hours | None = Field(default=None, description="None of these.")


class InSessionSection(Section):
    """In-session attributes: the fetch's facts about this visit."""

    query: dict[Name, Annotated[ParameterSection, OrListed("is")]] = Field(
        default_factory=dict,
        description="Custom attributes: the value or values that each may have, or "
        "how it compares.",
    )
    days: Annotated[DaysSection, OrListed("include")] | None = Field(
        default=None, description="Days of the week, as in Sunday."
    )
    hours: Annotated[HoursSection, OrListed("include")] | None = Field(
        default=None,
        description="Hours of the day in UTC, 0 to 23: 18 is from 18:00 to 18:59.",
    )
    country: Annotated[RegionSection, OrListed("include")] | None = Field(
        default=None, description="Countries by name or two letters."
    )
    state: Annotated[RegionSection, OrListed("include")] | None = Field(
        default=None, description="States or regions."
    )
    city: Annotated[RegionSection, OrListed("include")] | None = Field(
        default=None, description="Cities."
    )
    device: Annotated[DeviceSection, OrListed("include")] | None = Field(
        default=None, description="Device types: mobile, tablet, desktop."
    )


class VariationSection(Section):
    """One arm of an A/B test."""

    id: ShortId | None = Field(
        default=None, description="moe_variation_id; left out, its number in the list."
    )
    name: Name | None = Field(default=None, description="For people.")
    percent: Percent | None = Field(
        default=None,
        description="Its share of the audience; left out everywhere, equal shares.",
    )
    payload: Payload = Field(description="its content by name; {} for none.")
    locales: dict[Name, Payload] = Field(
        default_factory=dict,
        description="Values that replace those of the payload in a language.",
    )


class AudienceSection(Section):
    """Visitors who get the same variations."""

    name: Name = Field(description="audience_name, as in All Users.")
    id: ShortId | None = Field(
        default=None, description="audience_id; left out, made of its place, as in 1A."
    )
    where: WhereSection | None = Field(
        default=None, description="User properties; left out, all users."
    )
    segment: Name | None = Field(default=None, description="A custom segment.")
    exclude: ExcludeSection | None = Field(
        default=None, description="Customers left out."
    )
    in_session: InSessionSection | None = Field(
        default=None, description="In-session attributes, all of which must fit."
    )
    variations: Annotated[tuple[VariationSection, ...], Filled] = Field(
        max_length=MAX_VARIATIONS,
        description=f"The A/B test: at most {MAX_VARIATIONS} variations.",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        variations = mappings(given.get("variations"))
        yield from repeated(variations, "variations", "id")
        weighted = [one for one in variations if one.get("percent") is not None]
        if not weighted:
            return
        if len(weighted) < len(variations):
            text = "give a percent to all of the variations or to none"
            yield Mistake(("variations",), text)
            return
        percents = [one["percent"] for one in weighted]
        if not all(isinstance(one, int | float) for one in percents):
            return  # reported as a mistake of its own
        # Thirds are written as 33.33.
        if abs(sum(percents) - 100) > 0.01:
            text = f"add up to {sum(percents):g} percent: make it 100"
            yield Mistake(("variations",), text)


class ScheduleSection(Section):
    """From when until when an experience is on."""

    start: Date | None = Field(default=None, description="As in 2026-11-22T09:00.")
    end: Date | None = Field(
        default=None, description="Left out, it goes on; not included itself."
    )
    timezone: Timezone | None = Field(
        default=None, description="As in Asia/Kolkata; left out, the workspace's."
    )


class ControlGroupSection(Section):
    """Users who get no experience, for comparison."""

    percent: Percent = Field(default=0.0, description="The share of all users.")
    users: NamesOrNone | None = Field(
        default=None, description="Customers who belong to it in any case."
    )


class ExperienceSection(Section):
    """One experience. The first audience that matches wins."""

    key: str = Field(min_length=5, max_length=50, description="The experience key.")
    name: str = Field(min_length=5, max_length=256, description="Its name.")
    status: StatusName = Field(
        default="Active",
        description="Draft, Scheduled, Active, Paused or Expired. Active and "
        "Scheduled ones follow their schedule.",
    )
    schedule: ScheduleSection | None = Field(
        default=None, description="Left out, the status stays as it is."
    )
    control_group: ControlGroupSection = Field(
        default_factory=ControlGroupSection, description="The campaign's own."
    )
    global_control_group: Flag = Field(
        default=True, description="Whether the workspace's holds here too."
    )
    locales: NamesOrNone = Field(
        default=(), description="The languages beside the default, as in [pt, de]."
    )
    cid_token: CidToken | None = Field(
        default=None,
        description="The beginning of all its cids; left out, made of the key. "
        "Who gets which variation hangs on it.",
    )
    audiences: Annotated[tuple[AudienceSection, ...], Filled] = Field(
        max_length=MAX_AUDIENCES,
        description=f"In order of priority, at most {MAX_AUDIENCES}.",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from repeated(mappings(given.get("audiences")), "audiences", "id")


def mappings(given: object) -> list[Mapping[str, Any]]:
    """Return the mappings of a list; other items are mistakes of their own."""
    items = given if isinstance(given, list | tuple) else ()
    return [one if isinstance(one, Mapping) else {} for one in items]


def repeated(
    items: Iterable[Mapping[str, Any]], where: str, name: str
) -> Iterator[Mistake]:
    """Yield the mistakes of values that must differ among a list's items."""
    seen: Counter[str] = Counter()
    for index, item in enumerate(items):
        if (value := item.get(name)) is None:
            continue
        seen[str(value)] += 1
        if seen[str(value)] == 2:
            text = f"{str(value)!r} is there already: {name} must be its own"
            yield Mistake((where, index, name), text)
