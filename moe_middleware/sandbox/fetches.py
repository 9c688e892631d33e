"""The body of a fetch, in every dialect that the documents have printed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import read_enum, read_object, read_text, wrong_type
from .refusals import invalid_field
from .targeting import DAY, HOUR, USER_AGENT

MAX_KEYS = 25
"""Keys answered by one fetch; the rest is cut off without a word."""

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

_NOT_SESSION = frozenset(
    ("identifiers", "customer_id", "user_id", "visitor_id", "experience_key")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """What one fetch asks for.

    Attributes:
        keys: The experience keys; None asks for all.
        customer_id: The brand's own id.
        visitor_id: The id of an anonymous browser, an older dialect.
        user_identifiers: By name; or one bare value that may be any of them.
        session: Every other top-level field: the in-session attributes.
    """

    keys: tuple[str, ...] | None
    customer_id: str | None
    visitor_id: str | None
    user_identifiers: Mapping[str, str] | str
    session: Mapping[str, Any]


def parse_fetch(document: object, *, flat_ids: bool = True) -> Fetch:
    """Return what a fetch's body asks for.

    Args:
        document: The call's body.
        flat_ids: Whether ids beside ``identifiers`` count, as they once did.

    Raises:
        Refusal: A field has a value that the API does not take.
    """
    fields = read_object(document, "body")
    identifiers = read_object(fields.get("identifiers", {}), "identifiers")
    flat = fields if flat_ids else {}
    flat_id = read_text(flat, "customer_id", read_text(flat, "user_id", None))
    read_enum(fields, DAY, DAYS)
    read_enum(fields, HOUR, HOURS)
    read_text(fields, "USER_IP_ADDRESS", None)
    read_text(fields, USER_AGENT, None)
    return Fetch(
        keys=_parse_keys(fields),
        customer_id=read_text(identifiers, "customer_id", flat_id),
        visitor_id=read_text(flat, "visitor_id", None),
        user_identifiers=_parse_user_identifiers(identifiers),
        session={k: v for k, v in fields.items() if k not in _NOT_SESSION},
    )


def _parse_keys(fields: dict[str, Any]) -> tuple[str, ...] | None:
    keys = fields.get("experience_key", [])
    if isinstance(keys, str):
        return (keys,)
    if not isinstance(keys, list):
        raise wrong_type("experience_key", "list", keys)
    for key in keys:
        if not isinstance(key, str):
            raise wrong_type("experience_key", "str", key)
    return tuple(keys[:MAX_KEYS]) or None


def _parse_user_identifiers(identifiers: dict[str, Any]) -> Mapping[str, str] | str:
    given = identifiers.get("user_identifiers", {})
    if isinstance(given, str):
        return given
    for name, value in read_object(given, "user_identifiers").items():
        if not isinstance(value, str):
            raise wrong_type("user_identifiers", "str", value)
        if not value:
            raise invalid_field(
                "user_identifiers", f"{name}: String value empty not allowed"
            )
    return dict(given)
