"""The request log: the last calls of the API, headers masked."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ...json_texts import JSONTextError, parse_json
from ..api import METHODS
from ..request_log import Exchange
from . import words
from .rendering import Endpoint, render

if TYPE_CHECKING:
    from ..app import Sandbox

LIMIT = 100
"""Calls on the page."""

FAILED = "failed"
CHOICES = [("", "all"), *((name, name) for name in METHODS), (FAILED, "failed")]


def requests_page(sandbox: Sandbox) -> Endpoint:
    """Return what shows the request log."""

    async def requests(request: Request) -> Response:
        only = request.query_params.get("only", "")
        only = only if only in dict(CHOICES) else ""
        return await render(
            sandbox, request, "requests.html", lambda: _build(sandbox, only)
        )

    return requests


def _build(sandbox: Sandbox, only: str) -> dict[str, Any]:
    found = sandbox.requests.latest(endpoint=only if only in METHODS else None)
    if only == FAILED:
        found = [one for one in found if _is_bad(one)]
    zone = sandbox.workspace.timezone
    return {
        "only": only,
        "choices": CHOICES,
        "limit": LIMIT,
        "requests": [_row(one) for one in found[:LIMIT]],
        "zone": zone,
        "tz": words.zone(zone),
    }


def _row(one: Exchange) -> dict[str, Any]:
    came = [f"{one.method} {one.path}"]
    came += [f"{name}: {value}" for name, value in one.headers]
    return {
        "number": one.number,
        "at": one.at,
        "method": one.method,
        "path": one.path,
        "seconds": one.seconds,
        "bad": _is_bad(one),
        "said": _said(one),
        "came": "\n".join([*came, *_body(one.request_body, one.request_size, "sent")]),
        "answered": "\n".join(
            [_said(one), *_body(one.response_body, one.response_size, "answered")]
        ),
    }


def _is_bad(one: Exchange) -> bool:
    return one.status is None or one.status >= 400 or bool(one.fault)


def _said(one: Exchange) -> str:
    said = "no answer" if one.status is None else _status(one.status)
    return f"{said}, fault: {one.fault}" if one.fault else said


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _body(body: bytes, size: int | None, verb: str) -> list[str]:
    """Return a body's beginning, indented where it is whole and JSON."""
    if size is None:
        return ["", f"(more was {verb} than the sandbox takes)"]
    if not body:
        return []
    if size > len(body):
        text = body.decode(errors="replace")
        return ["", text, f"(the first {len(body):,} of {size:,} bytes)"]
    try:
        pretty = orjson.dumps(parse_json(body), option=orjson.OPT_INDENT_2)
    except JSONTextError:
        return ["", body.decode(errors="replace")]
    return ["", pretty.decode()]
