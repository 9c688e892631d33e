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


class Fact(StrEnum):
    """The facts of a visit, spelled as in the workspace file."""

    DAYS = "days"
    HOURS = "hours"
    COUNTRY = "country"
    STATE = "state"
    CITY = "city"
    DEVICE = "device"


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
class FactIsIn:
    """A fact of the visit, as in the day or the city, has one of these values; or has
    another one."""

    fact: Fact
    values: tuple[str, ...]
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
Leaf = AttributeMeets | UserIsIn | SegmentIs | ParameterMeets | FactIsIn
Rule = Leaf | Group
