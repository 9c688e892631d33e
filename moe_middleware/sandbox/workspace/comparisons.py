"""Compares attributes with the operands of an audience's rules. Pure.

A value of the wrong type never matches, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Any, TypeGuard

from .rules import Operator


def compares(
    operator: Operator,
    value: Any,
    operands: tuple[Any, ...],
    *,
    ignore_case: bool = False,
    now: float = 0.0,
    zone: tzinfo = UTC,
) -> bool:
    """Whether an attribute's value matches an operator and its operands.

    Args:
        value: The attribute's value; None if the customer has none, which only
            ``exists`` can match.
        now: The time, in unix seconds.
        zone: The timezone of dates without one.
    """
    if operator is Operator.EXISTS:
        return (value is not None) is bool(operands[0])
    if value is None:
        return False
    if ignore_case:
        value, operands = _folded(value), tuple(map(_folded, operands))
    if operator in _OF_VALUES:
        return _OF_VALUES[operator](value, operands)
    if operator in _OF_NUMBERS:
        return _is_number(value) and _OF_NUMBERS[operator](value, *operands)
    if operator is Operator.BETWEEN and _is_number(operands[0]):
        return _is_number(value) and operands[0] <= value <= operands[1]
    return _date_compares(operator, value, operands, now, zone)


def parameter_compares(
    operator: Operator,
    value: Any,
    operands: tuple[Any, ...],
    *,
    ignore_case: bool = False,
    now: float = 0.0,
    zone: tzinfo = UTC,
) -> bool:
    """Whether an in-session attribute matches an operator.

    These attributes are sent as text: for operands that are numbers or booleans the
    text is converted, and for operands that are text a number is. Arguments as in
    ``compares``.
    """
    if operator in (Operator.IS, Operator.IS_NOT):
        alike = any(
            compares(Operator.IS, _like(one, value), (one,), ignore_case=ignore_case)
            for one in operands
        )
        return value is not None and alike is (operator is Operator.IS)
    if operator in _OF_TEXT:
        operands = tuple(map(_text_of, operands))
    return compares(
        operator,
        _like(operands[0], value),
        operands,
        ignore_case=ignore_case,
        now=now,
        zone=zone,
    )


_OF_TEXT = (
    Operator.CONTAINS,
    Operator.DOES_NOT_CONTAIN,
    Operator.STARTS_WITH,
    Operator.ENDS_WITH,
)


def _like(operand: Any, value: Any) -> Any:
    """Return an in-session attribute with the type of its operand."""
    if isinstance(operand, str):
        return _text_of(value)
    if isinstance(value, str) and isinstance(operand, bool):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    if isinstance(value, str) and _is_number(operand):
        return _number_of(value)
    return value


def _number_of(text: str) -> Any:
    """Return a text as a number; unchanged if it is none."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return text
    # Whole numbers stay exact, whatever their length.
    return float(text) if found["fraction"] else int(text)


_NUMBER = re.compile(r"[+-]?[0-9]{1,64}(?P<fraction>\.[0-9]{1,64})?")


def _text_of(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if _is_number(value) else value


def is_one_of(value: object, wanted: tuple[Any, ...]) -> bool:
    """Whether a value is among others; unlike in Python, true is not 1."""
    return any(
        value == one and isinstance(value, bool) == isinstance(one, bool)
        for one in wanted
    )


def parse_days(value: object, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """Return the beginning and the end of a date or a time; None for other values.

    A date lasts for its whole day, a time has no length. Numbers are unix seconds.
    """
    if _is_number(value):
        return _parse_seconds(float(value))
    return _parse_iso(value, zone) if isinstance(value, str) else None


def _contains(value: Any, operands: tuple[Any, ...]) -> bool:
    if isinstance(value, str):
        return any(isinstance(one, str) and one in value for one in operands)
    return isinstance(value, list) and any(is_one_of(one, operands) for one in value)


def _texts(operands: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(one for one in operands if isinstance(one, str))


_OF_VALUES: Mapping[Operator, Callable[[Any, tuple[Any, ...]], bool]] = {
    Operator.IS: is_one_of,
    Operator.IS_NOT: lambda value, operands: not is_one_of(value, operands),
    Operator.CONTAINS: _contains,
    Operator.DOES_NOT_CONTAIN: lambda value, operands: not _contains(value, operands),
    Operator.STARTS_WITH: lambda value, operands: (
        isinstance(value, str) and value.startswith(_texts(operands))
    ),
    Operator.ENDS_WITH: lambda value, operands: (
        isinstance(value, str) and value.endswith(_texts(operands))
    ),
    Operator.HAS_ANY: lambda value, operands: (
        isinstance(value, list) and _contains(value, operands)
    ),
    Operator.HAS_ALL: lambda value, operands: (
        isinstance(value, list)
        and all(is_one_of(one, tuple(value)) for one in operands)
    ),
    Operator.HAS_NONE: lambda value, operands: (
        isinstance(value, list) and not _contains(value, operands)
    ),
}

_OF_NUMBERS: Mapping[Operator, Callable[[float, float], bool]] = {
    Operator.ABOVE: gt,
    Operator.BELOW: lt,
    Operator.AT_LEAST: ge,
    Operator.AT_MOST: le,
}


def _date_compares(
    operator: Operator, value: Any, operands: tuple[Any, ...], now: float, zone: tzinfo
) -> bool:
    moment = parse_days(value, zone)
    if moment is None:
        return False
    at, _ = moment
    if operator in (Operator.IN_THE_LAST, Operator.IN_THE_NEXT):
        return _is_near(operator, at, operands[0], now)
    begin, end = _span(operands, zone)
    match operator:
        case Operator.BEFORE:
            return at < begin
        case Operator.AFTER:
            return at >= end if end > begin else at > end
        case Operator.ON:
            return at.astimezone(zone).date() == begin.astimezone(zone).date()
        case _:
            return begin <= at < end or at == end == _span(operands[1:], zone)[0]


def _is_near(operator: Operator, at: datetime, days: float, now: float) -> bool:
    here = datetime.fromtimestamp(now, UTC)
    try:
        reach = timedelta(days=days)
        if operator is Operator.IN_THE_LAST:
            return here - reach <= at <= here
        return here <= at <= here + reach
    except OverflowError:
        return at <= here if operator is Operator.IN_THE_LAST else at >= here


def _span(operands: tuple[Any, ...], zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the beginning of the first operand and the end of the last one."""
    spans = [parse_days(one, zone) for one in operands]
    far = datetime.max.replace(tzinfo=UTC)
    known = [span or (far, far) for span in spans]
    return known[0][0], known[-1][1]


def _parse_seconds(seconds: float) -> tuple[datetime, datetime] | None:
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at, at


# Each fetch compares the same dates of profiles and rules.
@lru_cache(maxsize=4096)
def _parse_iso(text: str, zone: tzinfo) -> tuple[datetime, datetime] | None:
    try:
        if len(text) == len("2026-11-22"):
            day = date.fromisoformat(text)
            begin = datetime.combine(day, time(), zone).astimezone(UTC)
            # No day follows it.
            if day == date.max:
                return begin, datetime.max.replace(tzinfo=UTC)
            next_day = datetime.combine(day + timedelta(days=1), time(), zone)
            return begin, next_day.astimezone(UTC)
        at = datetime.fromisoformat(text)
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at, at


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold()
    return [_folded(one) for one in value] if isinstance(value, list) else value
