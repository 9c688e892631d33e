"""The JSON of fetches, metadata and errors, and its limits. Pure: no I/O, no clock.

The rules come from MoEngage's documents Fetch Experience and Fetch Experience Metadata.
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
"""Keys of one fetch at most; the API silently drops others (Fetch Experience)."""

MAX_EXPERIENCES = 1_000
"""Experiences of one response at most, for a fetch without keys; a workspace has 20
active ones."""

MAX_CONTAINERS = 20_000
MAX_VALUES = 100_000
"""Braces and brackets, and commas, of one response at most: parsing more of them holds
up the event loop, even from another thread."""

MAX_DIGITS = 400
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""The integers that every parser and encoder of JSON supports."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

Dialect = Literal["identifiers", "flat", "both"]
AnonymousAs = Literal["visitor_id", "customer_id"]
PayloadValues = Literal["native", "text"]

# --- fetch -----------------------------------------------------------------


def split_keys(keys: Sequence[str]) -> list[Sequence[str]]:
    """Divide keys into fetches; no keys are one fetch of everything."""
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

    The newest documents have the ids under ``identifiers``, without a ``visitor_id``;
    the older ones have them at the top level. A server of the newest knows an anonymous
    id only as a ``customer_id``, as in events.

    Raises:
        InvalidRequestError: JSON cannot express one of the values.
    """
    customer_id = identity.customer_id
    if not customer_id and anonymous_as == "customer_id":
        customer_id = identity.visitor_id
    # The ids come after them: no attribute can take the place of an id.
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
        raise not_sent(error) from error


def not_sent(error: TypeError) -> InvalidRequestError:
    """Return the error for a value without a form in JSON.

    For example half a surrogate pair, or a number of 80 bits.
    """
    why = f"not sent, for JSON has no form for one of its values: {error}"
    return InvalidRequestError(status=400, description=why)


def parse_experiences(
    body: bytes, keys: Iterable[str] = (), *, values: PayloadValues = "native"
) -> list[Experience]:
    """Parse the response to a fetch: one experience for every key.

    Payloads are JSON that survives encoding and decoding unchanged. An unusable
    experience has the reason ``bad_answer``.

    Args:
        body: The response's body.
        keys: The requested keys; none means all keys of the response.
        values: ``native`` converts payload values to their ``data_type``; ``text``
            makes all of them text.

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
    """Return an experience that does not match the visitor."""
    return Experience(key=key, source=Source.API, reason=Reason.NO_MATCH)


def _experience(key: str, given: Any, unwrap: Callable[[Any, str], Any]) -> Experience:
    if not isinstance(given, dict):
        return Experience(key=key, reason=Reason.BAD_ANSWER)
    payload, context = given.get("payload"), given.get("experience_context")
    if not payload and not context:
        # A paused experience may have an empty payload instead of being absent.
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
    """Convert a value to its data type; return it unchanged if that fails."""
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
    """Return a text as a number; unchanged if JSON has no such number."""
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
    """Parse a response with metadata.

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


# --- errors ----------------------------------------------------------------


def parse_error(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float
) -> APIError | AnswerError:
    """Return the error of a response without success.

    Args:
        status: The HTTP status.
        headers: The headers, with lower-case names or a lookup that ignores case.
        body: The response's body.
        now: The time, in unix seconds.
    """
    envelope = _envelope(body)
    title = _text_of(envelope, "title")
    texts = {"title": title, "description": _text_of(envelope, "description")}
    if status == 429:
        limits = limits_of(headers, now, refused=True)
        wait = limits.resets_in if limits is not None else None
        return RateLimitedError(retry_after=wait, **texts)
    if status in (401, 403) or (status == 400 and title == "Request Error"):
        # The API answers an unknown MOE-APPKEY with "Request Error": the body is
        # valid, and its events must be kept.
        return AuthenticationError(status=status, **texts)
    code = envelope.get("code")
    code = code if isinstance(code, str) else None
    if status in (400, 413):
        return InvalidRequestError(status=status, code=code, **texts)
    if status >= 400:
        return APIError(status=status, code=code, **texts)
    return AnswerError(f"the API answered with status {status}")


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        envelope = _loads(body)
    except AnswerError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _text_of(envelope: Mapping[str, Any], name: str) -> str:
    text = envelope.get(name)
    # A gateway may send a page of text, and this is logged.
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
