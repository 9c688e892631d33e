"""The API's JSON, both ways, and its limits. Pure: no I/O, no clock.

The rules come from MoEngage's Personalize API documents (Fetch Experience, Fetch
Experience Metadata, Track Experience Events).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Literal

import orjson

from ..models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    InvalidRequestError,
    RateLimitedError,
)
from ..models.events import Action, Event
from ..models.experience import Experience, ExperienceMetadata
from ..models.identity import Identity
from ..models.json_texts import (
    MAX_DEPTH,
    JSONTextError,
    is_deeper,
    may_be_deeper,
    parse_json,
)
from ..models.reasons import Reason, Source
from ..network.published_limits import limits_of

MAX_EXPERIENCE_KEYS = 25
"""Keys of one fetch; the API silently drops the rest (Fetch Experience)."""

MAX_EVENT_ELEMENTS = 100
"""Elements, that is users, of one report (Track Experience Events)."""

MAX_REPORT_BYTES = 256 * 1024
"""No limit is published. A hundred users with three events each fit, and gateways
commonly take four times as much."""

EVENT_OVERHEAD = 240
"""Bytes of an event beside its context, id and attributes: names, uuid and the like."""

MAX_EXPERIENCES = 1_000
"""Experiences of one answer to a fetch that names none; a workspace has 20 active."""

MAX_CONTAINERS = 20_000
MAX_VALUES = 100_000
"""Braces and brackets, and commas, of one answer: what a parser makes of more of them
holds up the event loop, in whatever thread it runs."""

MAX_DIGITS = 400
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""What every parser and encoder of JSON takes for an integer."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_ElementKey = tuple[str, int | None, bytes]

Dialect = Literal["identifiers", "flat", "both"]
AnonymousAs = Literal["visitor_id", "customer_id"]
PayloadValues = Literal["native", "text"]

ACTION_NAMES = {
    Action.IMPRESSION: "MOE_PERSONALIZATION_MESSAGE_SHOWN",
    Action.CLICK: "MOE_PERSONALIZATION_MESSAGE_CLICKED",
}


# --- fetch -----------------------------------------------------------------


def split_keys(keys: Sequence[str]) -> list[Sequence[str]]:
    """Cut keys into the fetches they need; no keys are one fetch of everything."""
    step = MAX_EXPERIENCE_KEYS
    return [keys[at : at + step] for at in range(0, len(keys), step)] or [()]


def fetch_body(
    keys: Sequence[str],
    *,
    identity: Identity,
    attributes: Mapping[str, str],
    dialect: Dialect = "both",
    anonymous_as: AnonymousAs = "visitor_id",
) -> bytes:
    """Return the body of a fetch.

    The newest documents put ids under ``identifiers``; the older ones put them at the
    top level, where alone a ``visitor_id`` can be said. Only as a ``customer_id``, as
    in events, does an anonymous id mean something to a server of the newest.

    Raises:
        InvalidRequestError: JSON has no form for one of the values.
    """
    customer_id = identity.customer_id
    if not customer_id and anonymous_as == "customer_id":
        customer_id = identity.visitor_id
    body: dict[str, Any] = dict(attributes)
    if keys:
        body["experience_key"] = list(keys)
    if dialect != "flat":
        identifiers: dict[str, Any] = {}
        if customer_id:
            identifiers["customer_id"] = customer_id
        if identity.user_identifiers:
            identifiers["user_identifiers"] = dict(identity.user_identifiers)
        if identifiers:
            body["identifiers"] = identifiers
    if dialect != "identifiers":
        if customer_id:
            body["customer_id"] = customer_id
        elif identity.visitor_id:
            body["visitor_id"] = identity.visitor_id
    try:
        return orjson.dumps(body)
    except TypeError as error:
        # As half a surrogate pair, or a number of 80 bits.
        why = f"not sent, for JSON has no form for one of its values: {error}"
        raise InvalidRequestError(status=400, description=why) from error


def parse_experiences(
    body: bytes, keys: Iterable[str] = (), *, values: PayloadValues = "native"
) -> list[Experience]:
    """Read a fetch's answer: an experience for every key that was asked for.

    What comes of it is JSON that every encoder takes, and that is the same after it was
    encoded and decoded. An experience that cannot be used has the reason
    ``bad_answer``.

    Args:
        body: The answer's body.
        keys: The keys that were asked for; none of them means all that it holds.
        values: ``native`` gives payload values their ``data_type``; ``text`` makes
            every one of them text.

    Raises:
        AnswerError: The body is not the documented JSON.
    """
    answered = _member(_loads(body), "experiences")
    unwrap = _native if values == "native" else _text
    wanted = dict.fromkeys(keys) or answered
    if len(wanted) > MAX_EXPERIENCES:
        raise AnswerError(
            f"the answer holds {len(wanted)} experiences, more than {MAX_EXPERIENCES}"
        )
    may_be_deep = may_be_deeper(body, MAX_DEPTH)
    return [
        no_match(key)
        if key not in answered
        else Experience(key=key, reason=Reason.BAD_ANSWER)
        if may_be_deep and is_deeper(answered[key], MAX_DEPTH)
        else _experience(key, answered[key], unwrap)
        for key in wanted
    ]


def no_match(key: str) -> Experience:
    """Return what a visitor gets of an experience that is not for them."""
    return Experience(key=key, source=Source.API, reason=Reason.NO_MATCH)


def _experience(key: str, given: Any, unwrap: Callable[[Any, str], Any]) -> Experience:
    if not isinstance(given, dict):
        return Experience(key=key, reason=Reason.BAD_ANSWER)
    payload, context = given.get("payload"), given.get("experience_context")
    if not payload and not context:
        # A paused experience may come as an empty payload instead of no key.
        return no_match(key)
    if not isinstance(payload, dict) or not isinstance(context, dict):
        return Experience(key=key, reason=Reason.BAD_ANSWER)
    return Experience(
        key=key,
        payload={name: _value(wrapped, unwrap) for name, wrapped in payload.items()},
        experience_context=context,
        source=Source.API,
    )


def _value(wrapped: Any, unwrap: Callable[[Any, str], Any]) -> Any:
    if isinstance(wrapped, dict) and "value" in wrapped:
        return unwrap(wrapped["value"], str(wrapped.get("data_type", "")).lower())
    return unwrap(wrapped, "")


def _native(value: Any, data_type: str) -> Any:
    """Give a value its data type; one that will not fit stays as it came."""
    match data_type:
        case "string" if isinstance(value, bool | int | float):
            return _text(value, data_type)
        case "number" if isinstance(value, str):
            return _number(value)
        case "float" if isinstance(value, str):
            number = _number(value)
            return value if number is value else float(number)
        case "float" if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        case "boolean" if isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower(), value)
        case "json" if isinstance(value, str):
            return _parsed(value)
    return value


def _number(text: str) -> int | float | str:
    """Return the number that a text is; the text where JSON has no such number."""
    written = text.strip()
    if len(written) > MAX_DIGITS or not _NUMBER.fullmatch(written):
        return text
    if written.strip("+-").isdigit():
        whole = int(written)
        return whole if MIN_INTEGER <= whole <= MAX_INTEGER else text
    number = float(written)
    return number if isfinite(number) else text


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except JSONTextError:
        return text


def _text(value: Any, data_type: str) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


# --- metadata --------------------------------------------------------------


def parse_metadata(body: bytes) -> list[ExperienceMetadata]:
    """Read a metadata answer.

    Raises:
        AnswerError: The body is not the documented JSON.
    """
    listed = _member(_loads(body), "metadata").get("experiences")
    if not isinstance(listed, list | None):
        raise AnswerError("the metadata's experiences are no list")
    return [_metadata(row) for row in listed or ()]


def _metadata(row: Any) -> ExperienceMetadata:
    match row:
        case {
            "experience_key": str(key),
            "experience_name": str(name),
            "status": str(status),
        }:
            return ExperienceMetadata(key=key, name=name, status=status)
    raise AnswerError("the metadata's experiences have another shape")


# --- events ----------------------------------------------------------------


class Room:
    """The room of one report: 100 users and so many bytes.

    Args:
        max_bytes: How large the report may grow.
    """

    def __init__(self, max_bytes: int = MAX_REPORT_BYTES) -> None:
        self._bytes_left = max_bytes
        self._elements: set[_ElementKey] = set()

    def takes(self, event: Event) -> bool:
        """Give an event its room, if there is any; the first one always gets it."""
        key, size = _element_key(event), _size(event)
        if self._elements:
            full = len(self._elements) == MAX_EVENT_ELEMENTS
            if size > self._bytes_left or (full and key not in self._elements):
                return False
        self._elements.add(key)
        self._bytes_left -= size
        return True


def batches(
    events: Iterable[Event], *, max_bytes: int = MAX_REPORT_BYTES
) -> list[list[Event]]:
    """Cut events into reports that each have room for theirs, in order."""
    cut: list[list[Event]] = []
    room = Room(0)
    for event in events:
        if not cut or not room.takes(event):
            room = Room(max_bytes)
            room.takes(event)
            cut.append([])
        cut[-1].append(event)
    return cut


def events_body(events: Iterable[Event]) -> bytes:
    """Return the body of a report: one element a user, their actions in order."""
    elements: dict[_ElementKey, dict[str, Any]] = {}
    for event in events:
        key = _element_key(event)
        element = elements.get(key)
        if element is None:
            element = elements[key] = _element(event)
        element["actions"].append(_action(event))
    return orjson.dumps({"elements": list(elements.values())})


def _element_key(event: Event) -> _ElementKey:
    return (
        event.customer_id,
        event.user_timezone_offset,
        orjson.dumps(event.user_attributes, option=orjson.OPT_SORT_KEYS)
        if event.user_attributes
        else b"",
    )


def _size(event: Event) -> int:
    """Return about how many bytes an event adds to a report, rather too many."""
    size = EVENT_OVERHEAD + len(orjson.dumps(event.experience_context))
    size += len(event.customer_id) + 2 * len(event.b_id or "")
    if event.user_attributes:
        size += len(orjson.dumps(event.user_attributes))
    return size


def _element(event: Event) -> dict[str, Any]:
    element: dict[str, Any] = {"customer_id": event.customer_id}
    if event.user_attributes:
        element["user_attributes"] = event.user_attributes
    if event.user_timezone_offset is not None:
        element["user_timezone_offset"] = event.user_timezone_offset
    element["actions"] = []
    return element


def _action(event: Event) -> dict[str, Any]:
    attributes = dict(event.experience_context)
    action = {
        "action": ACTION_NAMES[event.action],
        "moe_event_uuid": event.uuid,
        "event_time": event.occurred_at,
        "platform": event.platform,
        "attributes": attributes,
    }
    if event.b_id is not None:
        # The schema tables put it on the action, every sample into the attributes.
        action["b_id"] = attributes["b_id"] = event.b_id
    return action


# --- errors ----------------------------------------------------------------


def parse_error(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float
) -> APIError | AnswerError:
    """Turn an answer that is no success into the error to raise.

    Args:
        status: The HTTP status.
        headers: The answer's headers, by lower-case names or looked up without case.
        body: The answer's body.
        now: The time, in unix seconds.
    """
    envelope = _envelope(body)
    title = _said(envelope, "title")
    said = {"title": title, "description": _said(envelope, "description")}
    if status == 429:
        limits = limits_of(headers, now, refused=True)
        wait = limits.resets_in if limits is not None else None
        return RateLimitedError(retry_after=wait, **said)
    if status in (401, 403) or (status == 400 and title == "Request Error"):
        # "Request Error" is the API's answer to an unknown MOE-APPKEY: what was
        # sent is fine, and events must not be given up for it.
        return AuthenticationError(status=status, **said)
    code = envelope.get("code")
    code = code if isinstance(code, str) else None
    if status in (400, 413):
        return InvalidRequestError(status=status, code=code, **said)
    if status >= 400:
        return APIError(status=status, code=code, **said)
    return AnswerError(f"the API answered with status {status}")


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        envelope = _loads(body)
    except AnswerError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _said(envelope: Mapping[str, Any], name: str) -> str:
    text = envelope.get(name)
    return text[:500] if isinstance(text, str) else ""


def _loads(body: bytes) -> Any:
    containers = body.count(b"{") + body.count(b"[")
    if containers > MAX_CONTAINERS or body.count(b",") > MAX_VALUES:
        raise AnswerError("the answer holds too many values")
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise AnswerError("the answer is not JSON") from error


def _member(holder: Any, name: str) -> dict[str, Any]:
    member = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(member, dict):
        raise AnswerError(f"the answer has no object {name!r}")
    return member
