"""The payloads and attributes of a workspace file, as JSON values. Pure: no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...settings.validation import shown, suggestion
from .templating import check_template, is_template
from .workspace import DataType, Value


def plain(value: Any) -> Any:
    """Return a value without the notes of the file's reader."""
    match value:
        case bool() | None:
            return value
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            return {str(name): plain(inner) for name, inner in value.items()}
        case _:
            return [plain(inner) for inner in value]


def as_value(given: Any) -> Value:
    """Return a payload's value, given in the short form or the long one.

    A mapping with ``value`` and optionally ``data_type`` is the long form; any other
    value is the short form.
    """
    if isinstance(given, Mapping) and "value" in given:
        for key in given:
            if key not in ("value", "data_type"):
                known = ("value", "data_type")
                raise ValueError(suggestion(str(key), known, kind="key"))
        data_type = given.get("data_type")
        return _checked(given["value"], data_type or type_of(given["value"]))
    return _checked(given, type_of(given))


def type_of(value: Any) -> DataType:
    """Return the type of a native value."""
    match value:
        # Before int, which true is in Python.
        case bool():
            return DataType.BOOLEAN
        case int():
            return DataType.NUMBER
        case float():
            return DataType.FLOAT
        case Mapping() | list() | tuple():
            return DataType.JSON
        case _:
            return DataType.STRING


def _checked(value: Any, data_type: Any) -> Value:
    names = [one.value for one in DataType]
    if data_type not in names:
        raise ValueError(suggestion(str(data_type), names, kind="data_type"))
    kind = DataType(str(data_type))
    if value is None:
        raise ValueError("no value: leave the name out, or write '' for empty text")
    check_json(value)
    if kind is DataType.STRING and not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{shown(value)} is not text: put it in quotes")
        return Value(str(value), kind)
    if not _fits(value, kind):
        raise ValueError(f"{shown(value)} is no {kind}")
    return Value(plain(value), kind)


def _fits(value: Any, kind: DataType) -> bool:
    if isinstance(value, str) and is_template(value):
        return True  # its result is only known after rendering
    match kind:
        case DataType.BOOLEAN:
            return isinstance(value, bool)
        case DataType.NUMBER | DataType.FLOAT:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def check_json(value: Any) -> None:
    """Check that values are JSON, and that texts are valid templates."""
    match value:
        case str():
            if is_template(value):
                check_template(value)
        case Mapping():
            for inner in value.values():
                check_json(inner)
        case list() | tuple():
            for inner in value:
                check_json(inner)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{shown(value)} is no JSON: give a finite number")
        case bool() | None:
            pass
        case int():
            # orjson encodes no larger ones.
            if not -(2**63) <= value < 2**64:
                raise ValueError(f"{shown(value)} is too large for a number")
