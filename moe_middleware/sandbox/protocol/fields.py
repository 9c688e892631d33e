"""Reads single fields of a JSON document, or refuses them in the API's words. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from .leniencies import Leniency, Reading
from .refusals import Refusal, invalid_field

_ECHOED = 200
"""Characters of an invalid value that an error repeats."""

_REQUIRED: Any = object()


def read_object(document: object, field: str) -> dict[str, Any]:
    """Return a document or element that must be a JSON object."""
    if not isinstance(document, dict):
        raise wrong_type(field, "dict", document)
    return document


def read_known(
    document: dict[str, Any], field: str, known: Set[str], reading: Reading
) -> None:
    """Refuse fields that the documents do not list, unless the reading allows them."""
    if document.keys() <= known or reading.allows(Leniency.UNKNOWN_FIELD):
        return
    unknown = min(document.keys() - known)
    raise invalid_field(field, f"Unknown field: {unknown[:_ECHOED]}")


def read_text(
    document: dict[str, Any], field: str, default: str | None = _REQUIRED
) -> Any:
    """Return a field that must be a string; ``default`` if it is absent."""
    value = document.get(field, default)
    if value is _REQUIRED:
        raise invalid_field(field, "Value cannot be None")
    if field in document and not isinstance(value, str):
        raise wrong_type(field, "str", value)
    return value


def read_enum(
    document: dict[str, Any], field: str, allowed: Sequence[str]
) -> str | None:
    """Return a field that must be one of these strings; None if it is absent."""
    if field not in document:
        return None
    value = document[field]
    if not isinstance(value, str) or value not in allowed:
        raise invalid_field(
            field,
            f"Enum doesnt allow value: {str(value)[:_ECHOED]}, "
            f"allowed values: [{', '.join(allowed)}]",
        )
    return value


def read_whole(value: object, field: str, lowest: int, highest: int) -> int:
    """Return a whole number within bounds; 1.0 is whole, true is not a number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # In Python, true is an int.
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(field, "int", value)
    if value < lowest:
        raise invalid_field(field, f"Value is less than min value: {lowest}")
    if value > highest:
        raise invalid_field(field, f"Value is greater than max value: {highest}")
    return value


def read_list(document: dict[str, Any], field: str, most: int | None) -> list[Any]:
    """Return a field that must be a list of one to ``most`` items."""
    value = document.get(field)
    if value is None or value == []:
        raise invalid_field(field, "Value cannot be None")
    if not isinstance(value, list):
        raise wrong_type(field, "list", value)
    if most is not None and len(value) > most:
        raise invalid_field(field, f"Too many items in list, max allowed: {most}")
    return value


def wrong_type(field: str, wanted: str, given: object) -> Refusal:
    """Return the refusal of a value of another type."""
    if given is None:
        return invalid_field(field, "Value cannot be None")
    return invalid_field(
        field,
        f"Value must be of type {wanted}, passed type: {type(given).__name__}",
    )
