"""The rules of an audience, as plain values; ``judgements`` applies them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# The API's own error text begins the week with Sunday.
DAYS = (
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
)
HOURS = tuple(f"{hour:02}" for hour in range(24))


class Device(StrEnum):
    """The device types that the dashboard offers."""

    MOBILE = "mobile"
    TABLET = "tablet"
    DESKTOP = "desktop"


class Region(StrEnum):
    """The parts of a location that the dashboard offers."""

    COUNTRY = "country"
    STATE = "state"
    CITY = "city"


class Operator(StrEnum):
    """The operators, spelled as in the workspace file."""

    IS = "is"
    IS_NOT = "is_not"
    CONTAINS = "contains"
    DOES_NOT_CONTAIN = "does_not_contain"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    ABOVE = "above"
    BELOW = "below"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    BETWEEN = "between"
    ON = "on"
    BEFORE = "before"
    AFTER = "after"
    IN_THE_LAST = "in_the_last"
    IN_THE_NEXT = "in_the_next"
    HAS_ANY = "has_any"
    HAS_ALL = "has_all"
    HAS_NONE = "has_none"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """A known customer's attribute has one of these values."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AttributeMeets:
    """A known customer's attribute matches an operator and its operands."""

    name: str
    operator: Operator
    operands: tuple[Any, ...]
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class UserIsIn:
    """The visitor is one of these known customers."""

    customer_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SegmentIs:
    """A known customer belongs to the custom segment of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class ParameterMeets:
    """A custom in-session attribute, as in ``utm_medium``, matches an operator."""

    name: str
    operator: Operator
    operands: tuple[Any, ...]
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class DayIsIn:
    """The visit is on one of these days, as in ``Sunday``; or on another one."""

    days: tuple[str, ...]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class HourIsIn:
    """The visit is in one of these hours in UTC, 0 to 23; or in another one."""

    hours: tuple[int, ...]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class DeviceIsIn:
    """The visitor's User-Agent names one of these devices; or none of them."""

    devices: tuple[Device, ...]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class RegionIsIn:
    """The visitor's IP address is in one of these places; or in none of them."""

    region: Region
    names: tuple[str, ...]
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of these rules hold."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these rules holds."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """None of these rules holds: the visitors excluded from an audience."""

    rules: tuple[Rule, ...]


Group = AllOf | AnyOf | NoneOf
Leaf = (
    AttributeIs
    | AttributeMeets
    | UserIsIn
    | SegmentIs
    | ParameterMeets
    | DayIsIn
    | HourIsIn
    | DeviceIsIn
    | RegionIsIn
)
Rule = Leaf | Group
