"""Converts values that apps pass in to plain JSON values. Pure: no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from numbers import Integral, Number
from typing import Any
from uuid import UUID

MAX_DEPTH = 20
"""Levels of lists and mappings within each other, at most."""

MAX_VALUES = 10_000
"""Values in one set of attributes, with the nested ones, at most."""

MAX_OFFSET = 54_000
"""The largest offset from UTC that the API takes, in seconds: more than any time zone
has."""

_LEAST, _MOST = -(2**63), 2**64 - 1
"""The integers that JSON encoders support."""


def text_of(value: object) -> str | None:
    """Return a text or a text-like object as a plain ``str``; None for others.

    A framework's URL, a lazy translation and safe markup are text-like. Numbers, bytes
    and containers are not, and neither is an empty text.
    """
    # Nearly all are.
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Enum):
        return text_of(value.value)
    if value is None or isinstance(value, Number | bytes | bytearray | memoryview):
        return None
    try:
        # The standard library's split URLs are tuples.
        text_like = value.geturl() if hasattr(value, "geturl") else value
        if type(text_like).__str__ is object.__str__:
            return None
        return str.__str__(str(text_like)) or None
    except Exception:
        return None


def label_of(value: object) -> str | None:
    """Return a name from a caller as text that can be encoded; None for None.

    Raises:
        ValueError: It is no text, and ``plain_of`` has none for it.
    """
    if value is None or (type(value) is str and value.isascii()):
        return value
    plain = plain_of(value)
    return plain if isinstance(plain, str) else encodable(str(value))


def plain_of(value: object) -> Any:
    """Return a value as JSON types: text, numbers, booleans, None, lists and dicts.

    Decimals and other numbers become numbers, or text if JSON has no such number;
    dates, UUIDs and other objects with a text of their own become text; sets become
    lists.

    Raises:
        ValueError: It contains another kind of value, or itself, or too much.
    """
    try:
        return _plain(value, MAX_DEPTH, [MAX_VALUES])
    except _RefusedError:
        raise
    except Exception as error:
        # The error's text is the app's and may contain anything.
        raise _RefusedError(f"it raised {type(error).__name__}") from None


def attributes_of(given: object) -> dict[str, Any]:
    """Return a caller's attributes as plain values by name; empty for None.

    Raises:
        ValueError: They are no mapping, or ``plain_of`` refuses one of them.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"a mapping was expected, not {type(given).__name__}")
    plain: dict[str, Any] = plain_of(given)
    return plain


def offset_of(given: object) -> int | None:
    """Return a caller's offset from UTC in whole seconds; None for None.

    Raises:
        ValueError: It is no such number.
    """
    if given is None:
        return None
    try:
        if isinstance(given, timedelta):
            offset = int(given.total_seconds())
        elif isinstance(given, bool):
            raise ValueError
        else:
            offset = int(float(given))  # type: ignore[arg-type]
    except Exception:
        raise ValueError(f"{type(given).__name__} is no number of seconds") from None
    if abs(offset) > MAX_OFFSET:
        raise ValueError("no time zone is so far from UTC: give seconds")
    return offset


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode: half surrogate pairs become U+FFFD."""
    if text.isascii():
        return text
    # UTF-16 joins two halves that belong together.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _RefusedError(ValueError):
    """A value that cannot be converted; the text is our own."""


def _plain(value: object, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise _RefusedError("it holds itself, or too much")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return encodable(str.__str__(value))
    if isinstance(value, Enum):
        return _plain(value.value, depth - 1, left)
    if isinstance(value, Mapping):
        return {
            _name(name): _plain(one, depth - 1, left) for name, one in value.items()
        }
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _number(value.total_seconds())
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Number):
        return _number(value)
    return _other(value, depth, left)


def _other(value: Any, depth: int, left: list[int]) -> Any:
    for name in ("tolist", "item"):
        # For arrays and scalars of numerical libraries.
        convert = getattr(value, name, None)
        if callable(convert) and not isinstance(value, type):
            return _plain(convert(), depth - 1, left)
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return _plain(named, depth, left)
    text = text_of(value)
    if text is not None:
        return encodable(text)
    if isinstance(value, Iterable) and not isinstance(value, memoryview):
        # A generator may be endless: the count stops it.
        return [_plain(one, depth - 1, left) for one in value]
    raise _RefusedError(f"{type(value).__name__} is no value that JSON knows")


def _number(value: Any) -> int | float | str:
    if isinstance(value, Integral):
        whole = int(value)
        return whole if _LEAST <= whole <= _MOST else str(whole)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return str(value)
    # JSON has neither infinity nor NaN.
    return number if math.isfinite(number) else str(value)


def _name(name: object) -> str:
    if isinstance(name, str):
        return encodable(str.__str__(name))
    if not isinstance(name, Iterable):
        plain = _plain(name, 1, [2])
        if isinstance(plain, str | int | float):
            return str(plain)
    raise _RefusedError(f"{type(name).__name__} is no name")
