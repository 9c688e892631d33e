"""The page Requests: the last calls of the API, with masked credentials."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import Request

from ...models.json_texts import JSONTextError, parse_json
from ..memory.request_log import MAX_SHOWN, Exchange
from ..memory.state import State
from ..protocol.endpoints import METHODS
from ..workspace.schedules import find_zone
from .exchanges import summarize

LIMIT = 100
"""Calls on the page."""

FAILED = "failed"
CHOICES = [("", "all"), *((name, name) for name in METHODS), (FAILED, "failed")]


def requests(sandbox: State, request: Request) -> dict[str, Any]:
    """Return the values of the page."""
    only = request.query_params.get("only", "")
    only = only if only in dict(CHOICES) else ""
    found = sandbox.requests.latest(endpoint=only if only in METHODS else None)
    if only == FAILED:
        found = [one for one in found if _is_bad(one)]
    workspace = sandbox.workspace
    keys = {experience.name: experience.key for experience in workspace.experiences}
    return {
        "only": only,
        "choices": CHOICES,
        "limit": LIMIT,
        "requests": [_row(one, keys) for one in found[:LIMIT]],
        "zone": workspace.timezone,
        "tz": find_zone(workspace.timezone),
    }


def _row(one: Exchange, keys: Mapping[str, str]) -> dict[str, Any]:
    request = [f"{one.method} {one.path}"]
    request += [f"{name}: {value}" for name, value in one.headers]
    status, reason = _status(one)
    body = _body(one.request_body, one.request_size, "request")
    answer = _body(one.response_body, one.response_size, "response")
    return {
        "number": one.number,
        "at": one.at,
        "method": one.method,
        "endpoint": one.endpoint,
        "seconds": one.seconds,
        "bad": _is_bad(one),
        "status": status,
        "reason": reason,
        "fault": one.fault,
        "summary": summarize(one, keys),
        "request": "\n".join([*request, *body]),
        "response": "\n".join([f"{status} {reason}".strip(), *answer]),
    }


def _is_bad(one: Exchange) -> bool:
    return one.status is None or one.status >= 400 or bool(one.fault)


def _status(one: Exchange) -> tuple[str, str]:
    """Return the status and its phrase."""
    if one.status is None:
        return "–", "no response"  # noqa: RUF001
    try:
        return str(one.status), HTTPStatus(one.status).phrase
    except ValueError:
        return str(one.status), ""


def _body(body: bytes, size: int | None, what: str) -> list[str]:
    """Return the beginning of a body, indented if it is complete JSON."""
    if size is None:
        return ["", f"(a {what} larger than the sandbox takes)"]
    if not body:
        return []
    if size > MAX_SHOWN:
        text = body[:MAX_SHOWN].decode(errors="replace")
        return ["", text, f"(the first {MAX_SHOWN:,} of {size:,} bytes)"]
    try:
        pretty = orjson.dumps(parse_json(body), option=orjson.OPT_INDENT_2)
    except JSONTextError:
        return ["", body.decode(errors="replace")]
    return ["", pretty.decode()]
