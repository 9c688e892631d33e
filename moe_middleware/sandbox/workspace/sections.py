"""The sections of a workspace file. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from ...settings.validation import Mistake, Section
from ...settings.value_types import Flag, Unique, WorkspaceId
from .conditions import WhereSection
from .experiences import ControlGroupSection, ExperienceSection, mappings, repeated
from .fields import (
    AttributeValue,
    FaultOrder,
    Listed,
    Name,
    NamesOrNone,
    NetworkName,
    Timezone,
)
from .workspace import ACTIVE_LIMIT, FETCH_LIMIT

MAX_IDENTIFIERS = 5
MAX_KEYS = 2

Attributes = dict[Name, AttributeValue]


class UserSection(Section):
    """A known customer."""

    id: Name = Field(description="customer_id, the brand's own id.")
    attributes: Attributes = Field(
        default_factory=dict, description="Text, numbers, booleans, dates, lists."
    )
    identifiers: dict[Name, Name] = Field(
        default_factory=dict,
        max_length=MAX_IDENTIFIERS,
        description="For Identity Resolution: u_em, u_mb and your own.",
    )


class SegmentSection(Section):
    """A custom segment: a list of customers, all who match a condition, or both."""

    users: NamesOrNone | None = Field(
        default=None, description="Customers by their ids."
    )
    where: WhereSection | None = Field(
        default=None, description="Customers with these attributes."
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if "users" not in given and "where" not in given:
            yield Mistake((), "it has no members: give users or where")


class PlaceSection(Section):
    """Where a network is."""

    country: Name | None = Field(default=None, description="Its name.")
    country_code: Name | None = Field(default=None, description="Two letters.")
    state: Name | None = Field(default=None, description="The state or region.")
    city: Name | None = Field(default=None, description="The city.")


class GeographySection(Section):
    """Where IP addresses are."""

    places: dict[NetworkName, PlaceSection] = Field(
        default_factory=dict,
        max_length=1000,
        description="Networks, as in 203.0.113.0/24; the narrowest one counts.",
    )
    database: Name | None = Field(
        default=None,
        description="A city database (.mmdb) for all other addresses; it needs the "
        "package maxminddb.",
    )


class SwitchesSection(Section):
    """The other reading, where the documents disagree or are silent."""

    strict: Flag = Field(
        default=False,
        description="Whether only what the newest documents allow is taken.",
    )
    identity_resolution: Flag = Field(
        default=True, description="Whether user_identifiers find a customer."
    )
    test_app_key: Flag = Field(
        default=True, description="Whether <workspace id>_DEBUG is an app key too."
    )
    flat_ids: Flag = Field(
        default=True,
        description="Whether customer_id, user_id and visitor_id count at the top "
        "level of a fetch, as in older documents.",
    )
    iso_event_time: Flag = Field(
        default=True, description="Whether event_time may be ISO 8601 text."
    )
    millisecond_event_time: Flag = Field(
        default=True,
        description="Whether event_time may be in milliseconds.",
    )
    strict_platform: Flag = Field(
        default=False,
        description="Whether an unknown platform is refused, not stored as Unknown.",
    )
    unknown_app_is_401: Flag = Field(
        default=False,
        description="Whether an unknown app key is answered 401, as in older "
        "documents, instead of 400.",
    )
    values_as_text: Flag = Field(
        default=False, description="Whether numbers, booleans and JSON go out as text."
    )
    paused_as_empty_payload: Flag = Field(
        default=False,
        description="Whether a Paused or Scheduled experience is answered with an "
        "empty payload instead of not at all.",
    )


class LimitsSection(Section):
    """The product's limits that MoEngage raises on demand."""

    fetches_per_minute: int = Field(
        default=FETCH_LIMIT, ge=1, description="More are answered 429."
    )
    active_experiences: int = Field(
        default=ACTIVE_LIMIT, ge=1, description="More Active ones are a mistake."
    )


class WorkspaceSection(Section):
    """The whole workspace file."""

    name: Name = Field(default="Sandbox", description="For people.")
    id: WorkspaceId = Field(
        default="sandbox", description="The workspace id: the user of every call."
    )
    api_keys: Annotated[tuple[Name, ...], Listed, Unique] = Field(
        default=("sandbox-key",),
        max_length=MAX_KEYS,
        description="The keys that work; two while a key rotates.",
    )
    strict: Flag = Field(
        default=False, description="switches.strict, for short: the newest reading."
    )
    timezone: Timezone = Field(
        default="UTC", description="The app's: for reports, dates and schedules."
    )
    users: tuple[UserSection, ...] = Field(
        default=(), description="The customers known from the start."
    )
    segments: dict[Name, SegmentSection] = Field(
        default_factory=dict, description="The custom segments by name."
    )
    control_group: ControlGroupSection = Field(
        default_factory=ControlGroupSection, description="The global one."
    )
    geography: GeographySection = Field(
        default_factory=GeographySection, description="Where IP addresses are."
    )
    limits: LimitsSection = Field(
        default_factory=LimitsSection, description="Limits that can be raised."
    )
    switches: SwitchesSection = Field(
        default_factory=SwitchesSection, description="Other readings of the documents."
    )
    faults: tuple[FaultOrder, ...] = Field(
        default=(),
        description="The faults at the start, as POST /_sandbox/faults takes it.",
    )
    experiences: tuple[ExperienceSection, ...] = Field(
        default=(), description="The experiences."
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from repeated(mappings(given.get("users")), "users", "id")
        experiences = mappings(given.get("experiences"))
        yield from repeated(experiences, "experiences", "key")
        yield from repeated(experiences, "experiences", "cid_token")
