"""Summarises logged calls: visitor, keys and matches, from the bodies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

from ..decisions.visitors import DAY, HOUR, IP_ADDRESS, USER_AGENT
from ..memory.request_log import Exchange

_NAMED = {DAY: "day", HOUR: "hour", IP_ADDRESS: "ip", USER_AGENT: "user_agent"}
_IDS = ("customer_id", "user_id", "visitor_id")
_KINDS = {"_SHOWN": "impression", "_CLICKED": "click"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The summary of one call.

    Attributes:
        visitor: An id, ``anonymous``, or ``3 visitors``; empty if the body is
            unreadable.
        keys: Experience keys (for metadata, statuses), each with whether the response
            has it; None if the call is no fetch.
        matches: As in ``2 of 3``, or ``5 impressions``.
        query: The query of the page Explain for the same visitor; for a fetch only.
    """

    visitor: str = ""
    keys: tuple[tuple[str, bool | None], ...] = ()
    matches: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


def summarize(one: Exchange, keys: Mapping[str, str]) -> Summary:
    """Return the summary of a call, as far as its bodies are readable.

    ``keys`` has the experience keys by name: events have the name only.
    """
    match one.endpoint:
        case "fetch":
            return _fetch(_mapping(one.request_body), _mapping(one.response_body))
        case "events":
            return _events(_mapping(one.request_body), keys)
        case _:
            return _metadata(one)


def _fetch(request: Mapping[str, Any], response: Mapping[str, Any]) -> Summary:
    identifiers = _inner(request, "identifiers")
    keys_given = request.get("experience_key")
    found = _inner(response, "experiences")
    listed = keys_given if isinstance(keys_given, list) else [keys_given]
    keys = [one for one in listed if isinstance(one, str)]
    shown = keys or list(found)
    answered = "experiences" in response
    return Summary(
        visitor=_visitor(request, identifiers),
        keys=tuple((key, key in found if answered else None) for key in shown),
        matches=f"{len(found)} of {len(keys)}" if keys and answered else "",
        query=_query(request, identifiers),
    )


def _visitor(request: Mapping[str, Any], identifiers: Mapping[str, Any]) -> str:
    for name in _IDS:
        for place in (identifiers, request):
            if isinstance(value := place.get(name), str) and value:
                return value
    others = identifiers.get("user_identifiers")
    if isinstance(others, dict) and others:
        return ", ".join(map(str, others.values()))
    return "anonymous" if request else ""


def _query(
    request: Mapping[str, Any], identifiers: Mapping[str, Any]
) -> dict[str, str]:
    """Return the fields of the form on the page Explain for the same fetch."""
    if not request:
        return {}
    query, session = {}, []
    for name, value in request.items():
        if name in ("identifiers", "experience_key", "user_identifiers"):
            continue
        if name in _IDS or name in _NAMED:
            query[_NAMED.get(name, name.replace("user_id", "customer_id"))] = str(value)
        elif isinstance(value, str | int | float):
            session.append(f"{name}={value}")
    for name in _IDS:
        if isinstance(value := identifiers.get(name), str):
            query[name.replace("user_id", "customer_id")] = value
    others = identifiers.get("user_identifiers")
    if isinstance(others, dict):
        query["identifiers"] = ", ".join(f"{k}={v}" for k, v in others.items())
    return query | {"session": "\n".join(session)}


def _events(request: Mapping[str, Any], known: Mapping[str, str]) -> Summary:
    customers, kinds, keys = [], [], []
    for element in _listed(request, "elements"):
        customers.append(str(element.get("customer_id", "")))
        for action in _listed(element, "actions"):
            what = str(action.get("action", ""))
            kinds += [kind for end, kind in _KINDS.items() if what.endswith(end)]
            if name := str(_inner(action, "attributes").get("experience", "")):
                keys.append(known.get(name, name))
    unique = list(dict.fromkeys(filter(None, customers)))
    counts = [(kinds.count(kind), kind) for kind in _KINDS.values()]
    return Summary(
        visitor=unique[0]
        if len(unique) == 1
        else f"{len(unique)} visitors" * bool(unique),
        keys=tuple((key, None) for key in dict.fromkeys(keys)),
        matches=", ".join(
            f"{count} {kind}{'' if count == 1 else 's'}"
            for count, kind in counts
            if count
        ),
    )


def _metadata(one: Exchange) -> Summary:
    query = parse_qs(one.raw_query.decode("latin-1"))
    found = _listed(_inner(_mapping(one.response_body), "metadata"), "experiences")
    statuses = ",".join(query.get("status", ())).split(",")
    return Summary(
        keys=tuple((status, None) for status in statuses if status),
        matches=f"{len(found)} listed" if found else "",
    )


def _mapping(body: bytes) -> Mapping[str, Any]:
    # Bodies are cut in the log, so that a good one may be unreadable too.
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _inner(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _listed(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = document.get(name)
    items = value if isinstance(value, list) else []
    return [one for one in items if isinstance(one, dict)]
