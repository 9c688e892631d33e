"""The types of values in a workspace file, each with its check. Pure: no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from ipaddress import ip_network
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

from ...settings.validation import shown, suggestion
from ...settings.value_types import Unique
from .comparisons import parse_days
from .faults import parse_fault
from .rules import DAYS, HOURS, Device
from .schedules import Status
from .values import as_value, check_json, plain

_VARIABLE: dict[str, Any] = {"type": "string", "pattern": r"\$\{"}


def as_operand(given: Any) -> Any:
    """Return the operand of a comparison: a scalar or a list of them."""
    if given is None or isinstance(given, Mapping):
        raise ValueError(f"{shown(given)} is no value to compare with")
    values = given if isinstance(given, list | tuple) else [given]
    if not values:
        raise ValueError("an empty list: nothing is one of no values")
    for value in values:
        if value is None or isinstance(value, Mapping | list | tuple):
            raise ValueError(f"{shown(value)} is no value to compare with")
    return tuple(plain(value) for value in values)


def as_number(given: Any) -> float:
    """Return a number as an operand."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{shown(given)} is not a number")
    if not math.isfinite(given):
        raise ValueError(f"{shown(given)} is not a finite number")
    number: float = plain(given)
    return number


def as_date(given: Any) -> str:
    """Return a date or a time as an operand."""
    if not isinstance(given, str) or parse_days(str(given), UTC) is None:
        raise ValueError(
            f"{shown(given)} is no date: write 2026-11-22 or 2026-11-22T09:00"
        )
    return str(given)


def as_range(given: Any) -> tuple[Any, Any]:
    """Return two numbers or two dates as operands, the smaller one first."""
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise ValueError(f"{shown(given)} is no range: write it as [1, 10]")
    if any(isinstance(one, str) for one in given):
        first, last = as_date(given[0]), as_date(given[1])
        spans = parse_days(first, UTC), parse_days(last, UTC)
        upside_down = spans[0] > spans[1]  # type: ignore[operator]
        low: Any = first
        high: Any = last
    else:
        low, high = as_number(given[0]), as_number(given[1])
        upside_down = low > high
    if upside_down:
        raise ValueError(f"{shown(low)} comes after {shown(high)}: the smaller first")
    return low, high


def _as_list(given: Any) -> Any:
    """Accept one value as a list of it."""
    return _filled(_as_list_or_none(given))


def _as_list_or_none(given: Any) -> Any:
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        return [given]
    return given


def _filled(given: Any) -> Any:
    # pydantic's own check does not count invalid entries.
    if isinstance(given, list | tuple) and not given:
        raise ValueError("an empty list: it needs at least one entry")
    return given


def _as_attribute(given: Any) -> Any:
    check_json(given)
    return plain(given)


def _check_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        text = suggestion(name, sorted(available_timezones()), kind="timezone")
        if "did you mean" not in text:
            text = f"unknown timezone {name!r}: write one as in Europe/Lisbon or UTC"
        raise ValueError(text) from None
    return name


def _check_among(names: tuple[str, ...], kind: str) -> AfterValidator:
    def check(given: str) -> str:
        for name in names:
            if given.lower() == name.lower():
                return name
        plain_names = [str(name) for name in names]
        message = suggestion(given, plain_names, kind=kind)
        # They are few: list all of them beside the nearest one.
        listed = ", ".join(plain_names)
        raise ValueError(
            message if listed in message else f"{message} There are {listed}"
        )

    return AfterValidator(check)


def _check_hour(given: str) -> str:
    if (hour := given.zfill(2)) in HOURS:
        return hour
    raise ValueError(f"{given!r} is no hour: use 0 to 23, hours of the day in UTC")


def _check_form(form: str, why: str) -> AfterValidator:
    def check(given: str) -> str:
        if not re.fullmatch(form, given):
            raise ValueError(f"{given!r} is {why}")
        return given

    return AfterValidator(check)


def _check_network(given: str) -> str:
    try:
        return str(ip_network(given, strict=False))
    except ValueError:
        raise ValueError(
            f"{given!r} is no network: write one as in 203.0.113.0/24 or 2001:db8::1"
        ) from None


def _refuse_depth(_given: Any) -> Any:
    raise ValueError("nests too deep: MoEngage has one nested level")


def _check_fault(given: Any) -> Any:
    return parse_fault(plain(given))


def _one_of(*names: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"enum": list(names)}, _VARIABLE]})


@dataclass(frozen=True, slots=True)
class _ListOf:
    """A list, with its JSON Schema for editors.

    Attributes:
        check: A function for the given value, run first.
        of_one: Whether one value is accepted as a list.
        least: The fewest entries.
    """

    check: Callable[[Any], Any]
    of_one: bool = False
    least: int = 1

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        function = no_info_before_validator_function
        return function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        listed = {**handler(schema), "minItems": self.least}
        if not self.of_one:
            return listed
        return {"anyOf": [listed, {"type": ["string", "number"]}]}


@dataclass(frozen=True, slots=True)
class OrListed:
    """A section that can be given by one field alone: one value or a list."""

    field: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        function = no_info_before_validator_function
        return function(self._spelled_out, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        section = handler(schema)
        fields = handler.resolve_ref_schema(section)["properties"]
        return {"anyOf": [section, fields[self.field]]}

    def _spelled_out(self, given: Any) -> Any:
        if given is None:
            raise ValueError("no value: leave the name out, or give it one")
        return given if isinstance(given, Mapping) else {self.field: given}


_SCALAR = {"type": ["string", "number", "boolean"]}

PayloadValue = Annotated[
    Any, BeforeValidator(as_value), WithJsonSchema({"not": {"type": "null"}})
]
Operand = Annotated[
    Any,
    BeforeValidator(as_operand),
    WithJsonSchema(
        {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]}
    ),
]
Number = Annotated[
    Any, BeforeValidator(as_number), WithJsonSchema({"type": ["number", "string"]})
]
DayCount = Annotated[float, Field(gt=0, le=36_500)]
Date = Annotated[
    Any, BeforeValidator(as_date), WithJsonSchema({"type": "string", "minLength": 10})
]
Range = Annotated[
    Any,
    BeforeValidator(as_range),
    WithJsonSchema({"type": "array", "minItems": 2, "maxItems": 2}),
]
AttributeValue = Annotated[Any, BeforeValidator(_as_attribute), WithJsonSchema({})]
Filled = _ListOf(_filled)
Listed = _ListOf(_as_list, of_one=True)
ListedOrNone = _ListOf(_as_list_or_none, of_one=True, least=0)
Timezone = Annotated[str, AfterValidator(_check_timezone)]
StatusName = Annotated[
    str,
    _check_among(tuple(Status), "status"),
    _one_of(*Status, *(one.lower() for one in Status)),
]
Day = Annotated[str, _check_among(DAYS, "day"), _one_of(*DAYS)]
Hour = Annotated[
    str,
    AfterValidator(_check_hour),
    WithJsonSchema({"anyOf": [{"enum": [*range(24), *HOURS]}, _VARIABLE]}),
]
DeviceName = Annotated[str, _check_among(tuple(Device), "device"), _one_of(*Device)]
Days = Annotated[tuple[Day, ...], Listed, Unique]
Hours = Annotated[tuple[Hour, ...], Listed, Unique]
DeviceNames = Annotated[tuple[DeviceName, ...], Listed, Unique]
Percent = Annotated[float, Field(ge=0, le=100)]
ShortId = Annotated[
    str, _check_form("[0-9A-Za-z]{1,10}", "no id: use 1 to 10 letters and digits")
]
CidToken = Annotated[
    str, _check_form("[0-9a-f]{24}", "not 24 hex digits in lower case")
]
NetworkName = Annotated[str, AfterValidator(_check_network)]
TooDeep = Annotated[Any, BeforeValidator(_refuse_depth), WithJsonSchema({"not": {}})]
FaultOrder = Annotated[
    Any, BeforeValidator(_check_fault), WithJsonSchema({"type": "object"})
]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)
]
Names = Annotated[tuple[Name, ...], Listed, Unique]
NamesOrNone = Annotated[tuple[Name, ...], ListedOrNone, Unique]
