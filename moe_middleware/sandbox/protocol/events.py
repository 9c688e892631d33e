"""Parses the body of an events call: one element per user, with its actions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .fields import (
    read_known,
    read_list,
    read_object,
    read_text,
    read_whole,
    wrong_type,
)
from .leniencies import Leniency, Reading
from .refusals import Refusal, invalid_field

MAX_ELEMENTS = 100
"""Elements of one call at most."""

MAX_OFFSET = 54_000
"""The largest offset from UTC in either direction, in seconds."""

ACTIONS = ("MOE_PERSONALIZATION_MESSAGE_SHOWN", "MOE_PERSONALIZATION_MESSAGE_CLICKED")
WEB_SDK_ACTIONS = ("MOE_WEBP_MESSAGE_SHOWN", "MOE_WEBP_MESSAGE_CLICKED")
"""The Web SDK's names, in the order of ``ACTIONS``."""

TYPE = "Web Personalization"
"""The only documented ``type`` of an experience_context."""

PLATFORMS = ("web", "android", "ios", "tv")
REQUIRED_ATTRIBUTES = (
    "cid",
    "experience",
    "moe_locale_id",
    "moe_variation_id",
    "audience_name",
    "audience_id",
)

_BODY_FIELDS = frozenset(("elements",))
_ELEMENT_FIELDS = frozenset(
    ("customer_id", "user_attributes", "user_timezone_offset", "actions")
)
_ACTION_FIELDS = frozenset(
    ("action", "moe_event_uuid", "event_time", "platform", "attributes", "b_id")
)

_UUID_V4 = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)

MILLISECONDS_FROM = 10**11
"""An event_time from here on is in milliseconds; in seconds it would be the year
5138."""

# Generous: times in milliseconds are a mistake, but may be stored.
_MAX_TIME = 10**13


class Via(StrEnum):
    """The origin of an event."""

    API = "api"
    WEB_SDK = "web_sdk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One impression or click.

    Attributes:
        action: One of ``ACTIONS``, also for the Web SDK's names.
        event_time: The time of the event, in whole unix seconds.
        attributes: The experience_context as received, with extra keys.
        b_id: The clicked element, from either place.
        device_uuid: The Web SDK's id of the browser; None for other origins.
    """

    action: str
    uuid: str
    event_time: int
    platform: str
    attributes: Mapping[str, Any]
    b_id: str | None
    via: Via = Via.API
    device_uuid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One user's actions in a call.

    Attributes:
        customer_id: The user; a profile is made for an unknown one.
        user_attributes: Attributes to update in the profile.
        user_timezone_offset: The offset from UTC, in seconds; None if not given.
    """

    customer_id: str
    user_attributes: Mapping[str, Any]
    user_timezone_offset: int | None
    actions: tuple[Action, ...]


def parse_elements(document: object, reading: Reading) -> tuple[Element, ...]:
    """Return the elements of an events call, all of them valid.

    Raises:
        Refusal: One of them is invalid; it names the element's field, no deeper.
    """
    body = read_object(document, "body")
    elements = read_list(body, "elements", MAX_ELEMENTS)
    read_known(body, "body", _BODY_FIELDS, reading)
    return tuple(_parse_element(element, reading) for element in elements)


def _parse_element(raw: object, reading: Reading) -> Element:
    element = read_object(raw, "elements")
    read_known(element, "elements", _ELEMENT_FIELDS, reading)
    field = "customer_id"
    try:
        customer_id = _read_filled(element, field)
        field = "user_attributes"
        user_attributes = read_object(element.get(field, {}), field)
        field = "user_timezone_offset"
        offset = element.get(field)
        if field in element:
            offset = read_whole(offset, field, -MAX_OFFSET, MAX_OFFSET)
        field = "actions"
        actions = tuple(
            _parse_action(read_object(action, field), reading)
            for action in read_list(element, field, None)
        )
    # The API names the field of the element, and nothing within it.
    except Refusal as refusal:
        raise invalid_field(
            "elements",
            f"Validators Failed : Validator: Element, Errored Field: {field}",
        ) from refusal
    return Element(
        customer_id=customer_id,
        user_attributes=user_attributes,
        user_timezone_offset=offset,
        actions=actions,
    )


def _parse_action(action: dict[str, Any], reading: Reading) -> Action:
    if action.get("action") not in ACTIONS:
        raise invalid_field("action", "Enum doesnt allow value")
    read_known(action, "actions", _ACTION_FIELDS, reading)
    attributes = read_context(action.get("attributes"))
    _check_context(attributes, reading)
    return Action(
        action=action["action"],
        uuid=_read_event_uuid(action, reading),
        event_time=_read_time(action.get("event_time"), reading),
        platform=_read_platform(action.get("platform"), reading),
        attributes=attributes,
        b_id=read_text(action, "b_id", None) or read_text(attributes, "b_id", None),
    )


def read_context(value: object) -> dict[str, Any]:
    """Return an event's attributes: all required ones, and any others.

    Raises:
        Refusal: They are no object, or a required one is missing or no text.
    """
    attributes = read_object(value, "attributes")
    for name in REQUIRED_ATTRIBUTES:
        read_text(attributes, name)
    return attributes


def _check_context(attributes: dict[str, Any], reading: Reading) -> None:
    if attributes.get("type", TYPE) != TYPE and not reading.allows(Leniency.OTHER_TYPE):
        raise invalid_field("type", "Enum doesnt allow value")
    filled = all(attributes[name] for name in REQUIRED_ATTRIBUTES)
    if not filled and not reading.allows(Leniency.EMPTY_ATTRIBUTE):
        raise invalid_field("attributes", "String value empty not allowed")


def _read_event_uuid(action: dict[str, Any], reading: Reading) -> str:
    field = "moe_event_uuid"
    uuid = _read_filled(action, field)
    if not _UUID_V4.fullmatch(uuid) and not reading.allows(Leniency.NO_UUID_V4):
        raise invalid_field(field, "Value is no UUID of version 4")
    return uuid


def _read_filled(document: dict[str, Any], field: str) -> str:
    text: str = read_text(document, field)
    if not text:
        raise invalid_field(field, "String value empty not allowed")
    return text


def _read_time(value: object, reading: Reading) -> int:
    if isinstance(value, str) and not reading.refuses(Leniency.ISO_EVENT_TIME):
        value = _parse_iso(value)
        reading.note(Leniency.ISO_EVENT_TIME)
    seconds_only = reading.refuses(Leniency.MILLISECOND_EVENT_TIME)
    most = MILLISECONDS_FROM - 1 if seconds_only else _MAX_TIME
    time = read_whole(value, "event_time", 0, most)
    if time >= MILLISECONDS_FROM:
        reading.note(Leniency.MILLISECOND_EVENT_TIME)
    return time


def _parse_iso(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        return int(
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        )
    except (ValueError, OverflowError) as error:
        raise wrong_type("event_time", "int", text) from error


def _read_platform(value: object, reading: Reading) -> str:
    if isinstance(value, str) and value.lower() in PLATFORMS:
        return value.lower()
    if not reading.allows(Leniency.UNKNOWN_PLATFORM):
        raise invalid_field("platform", "Enum doesnt allow value")
    return "Unknown"
