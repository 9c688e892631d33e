"""What templates may work with: filters and sums that end soon. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import wraps
from typing import Any

from jinja2 import Undefined
from jinja2.filters import FILTERS

MAX_TEXT = 20_000
"""The longest text that a template or one step of it may make, in characters."""

MAX_ITEMS = 1_000
"""The longest list or range that a template may work on."""

MAX_WORK = 50_000
"""The turns of all loops of one rendering, times the template's length."""


class Withheld(Exception):
    """The experience is not sent; the text says why."""


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Refuse a sum whose result could be enormous."""
    sizes = [len(one) for one in (left, right) if isinstance(one, str | list | tuple)]
    numbers = [abs(one) for one in (left, right) if isinstance(one, int)]
    if operator == "%" and isinstance(left, str):
        raise Withheld("the template formats text with %")
    if operator == "**" and not (abs(left) < 1_000_000 and abs(right) <= 100):
        raise Withheld("the template raises a number too high")
    if operator == "*" and sizes and numbers and sizes[0] * numbers[0] > MAX_TEXT:
        raise too_long()


def fitting(value: Any) -> Any:
    """Return a value that is not too large to go on with."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise too_long()
    if isinstance(value, list | tuple) and len(value) > MAX_ITEMS:
        raise Withheld(f"the template makes a list of over {MAX_ITEMS} items")
    if isinstance(value, int) and value.bit_length() > 4096:
        raise Withheld("the template makes too large a number")
    return value


def too_long() -> Withheld:
    """Return the error of a text over its limit."""
    return Withheld(f"the template makes a text of over {MAX_TEXT} characters")


def size_of(value: Any) -> int:
    """Return about how many characters a value has; too many for a long list."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | dict):
        return 1
    if len(value) > MAX_ITEMS:
        return MAX_TEXT + 1
    inner = value if isinstance(value, list) else [*value, *value.values()]
    return sum(map(size_of, inner)) + 1


def printable(value: Any) -> Any:
    """Return a value that has a text of its own; nothing of Python's is one."""
    if value is None:
        raise Withheld("the template prints an attribute that is null")
    if isinstance(value, str | int | float | list | tuple | dict | Undefined):
        return value
    raise Withheld("the template prints what is no value")


def limited_range(*bounds: int) -> range:
    """Return a range that is not too long to go through."""
    found = range(*bounds)
    if len(found) > MAX_ITEMS:
        raise Withheld(f"the template's range is over {MAX_ITEMS} long")
    return found


def _of_few(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter of lists that refuses a long one."""

    @wraps(plain)
    def limited(*given: Any, **named: Any) -> Any:
        for one in given:
            if isinstance(one, Sized) and len(one) > MAX_ITEMS:
                raise Withheld(f"the template works on over {MAX_ITEMS} items")
        return plain(*given, **named)

    return limited


def joined(parts: Iterable[Any]) -> str:
    """Return what ``a ~ b`` makes."""
    return str(fitting("".join(str(part) for part in parts)))


def join(items: Iterable[Any], by: object = "", attribute: str | None = None) -> str:
    """Return the items as one text."""
    texts = [str(one[attribute] if attribute else one) for one in items]
    between = str(by)
    length = sum(map(len, texts)) + len(between) * len(texts)
    if length > MAX_TEXT:
        raise too_long()
    return between.join(texts)


def replace(text: object, old: object, new: object, count: int | None = None) -> str:
    """Return a text with parts of it replaced."""
    said, before, after = str(text), str(old), str(new)
    if len(said) + said.count(before) * len(after) > MAX_TEXT:
        raise too_long()
    return said.replace(before, after, -1 if count is None else count)


def round_to(value: Any, precision: int = 0, method: str = "common") -> float:
    """Return a number rounded, up or down where the method says so."""
    if abs(precision) > 15:
        raise Withheld("the template rounds to over 15 digits")
    if method == "common":
        return float(round(value, precision))
    to_whole = {"ceil": math.ceil, "floor": math.floor}[method]
    return float(to_whole(value * 10**precision) / 10**precision)


_OF_VALUES = (
    "abs", "capitalize", "d", "default", "e", "escape", "float", "int", "length",
    "lower", "count", "string", "title", "tojson", "trim", "truncate", "upper",
    "urlencode",
)  # fmt: skip
_OF_LISTS = ("first", "last", "list", "max", "min", "reverse", "sort", "sum", "unique")


LIMITED_FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: FILTERS[name] for name in _OF_VALUES},
    **{name: _of_few(FILTERS[name]) for name in _OF_LISTS},
    "join": _of_few(join),
    "replace": replace,
    "round": round_to,
}
"""The filters that templates have."""
