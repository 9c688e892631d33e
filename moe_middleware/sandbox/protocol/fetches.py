"""Parses the body of a fetch, in every form that the documents have had. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..decisions.visitors import DAY, HOUR, USER_AGENT
from ..workspace.rules import DAYS, HOURS
from .fields import read_enum, read_known, read_object, read_text, wrong_type
from .leniencies import Leniency, Reading
from .refusals import invalid_field

MAX_KEYS = 25
"""Keys of one fetch; others are dropped silently."""

_IDENTIFIERS = frozenset(("customer_id", "user_identifiers"))

FLAT_IDS = ("customer_id", "user_id", "visitor_id")
"""Ids that older documents have at the top level of a fetch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One fetch.

    Attributes:
        keys: The experience keys; None for all experiences.
        visitor_id: The id of an anonymous browser, an older dialect.
        user_identifiers: Identifiers by name, or one bare value of any name.
        session: All other top-level fields: the in-session attributes. They include ids
            at the top level that do not count as ids.
    """

    keys: tuple[str, ...] | None
    customer_id: str | None
    visitor_id: str | None
    user_identifiers: Mapping[str, str] | str
    session: Mapping[str, Any]


def parse_fetch(document: object, reading: Reading) -> Fetch:
    """Parse the body of a fetch.

    Raises:
        Refusal: A field has a value that the API does not accept.
    """
    fields = read_object(document, "body")
    identifiers = read_object(fields.get("identifiers", {}), "identifiers")
    read_known(identifiers, "identifiers", _IDENTIFIERS, reading)
    read_enum(fields, DAY, DAYS)
    read_enum(fields, HOUR, HOURS)
    read_text(fields, "USER_IP_ADDRESS", None)
    read_text(fields, USER_AGENT, None)
    user_identifiers = _parse_user_identifiers(identifiers)
    customer_id = read_text(identifiers, "customer_id", None)
    flat = _parse_flat_ids(fields, reading)
    flat_id = flat.get("customer_id") or flat.get("user_id")
    # Beside identifiers, sent for older servers, they have no effect.
    if flat_id and not customer_id:
        reading.note(Leniency.FLAT_CUSTOMER_ID)
        customer_id = flat_id
    if flat.get("visitor_id") and not (customer_id or user_identifiers):
        reading.note(Leniency.FLAT_VISITOR_ID)
    not_session = ("identifiers", "experience_key", *flat)
    return Fetch(
        keys=_parse_keys(fields, reading),
        customer_id=customer_id,
        visitor_id=flat.get("visitor_id"),
        user_identifiers=user_identifiers,
        session={k: v for k, v in fields.items() if k not in not_session},
    )


def _parse_flat_ids(fields: dict[str, Any], reading: Reading) -> dict[str, str]:
    """Return the ids at the top level, if they count as ids."""
    if reading.refuses(Leniency.FLAT_CUSTOMER_ID):
        return {}
    return {name: read_text(fields, name) for name in FLAT_IDS if name in fields}


def _parse_keys(fields: dict[str, Any], reading: Reading) -> tuple[str, ...] | None:
    keys = fields.get("experience_key", [])
    if isinstance(keys, str) and reading.allows(Leniency.TEXT_EXPERIENCE_KEY):
        return (keys,)
    if not isinstance(keys, list):
        raise wrong_type("experience_key", "list", keys)
    for key in keys:
        if not isinstance(key, str):
            raise wrong_type("experience_key", "str", key)
    # An empty list asks for all experiences, as no list does.
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
