"""A stand-in for MoEngage's Web SDK: its script, and the reports of pages.

The other documented way of counting beside the API: the browser reports events itself.
Nothing is deduplicated: the SDK's events have no id, so each call counts.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from .memory.state import State
from .memory.stores import Store
from .protocol.bodies import parse_body, read_body
from .protocol.credentials import app_keys
from .protocol.events import (
    ACTIONS,
    WEB_SDK_ACTIONS,
    Action,
    Element,
    Via,
    read_context,
)
from .protocol.fetches import Fetch
from .protocol.fields import read_enum, read_object, read_text
from .protocol.refusals import Refusal, invalid_field, too_large
from .tool_routes import json_response

logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_suffix(".js")

MAX_REPORT = 64 * 1024
"""The largest report, in bytes: the limit of browsers' beacons."""

ELEMENT_IDS = ("widget_id", "button_id")
"""Attributes with the clicked element, as ``b_id`` in the API's events: of
``web_p.trackClick`` and of the newer ``personalize.trackClick``."""

# Sites have another origin than the sandbox, as they have another one than MoEngage.
_ANYWHERE = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "content-type",
    "Access-Control-Max-Age": "600",
}


def web_sdk_routes(sandbox: State) -> list[Route]:
    """Return the routes of the script and of its reports."""
    web_sdk = _WebSdk(sandbox)
    return [
        Route("/_sandbox/web_sdk.js", web_sdk.script, methods=["GET"]),
        Route("/_sandbox/web_sdk/events", web_sdk.take, methods=["POST", "OPTIONS"]),
    ]


class _WebSdk:
    def __init__(self, sandbox: State) -> None:
        self._sandbox = sandbox

    async def script(self, _request: Request) -> Response:
        # no-cache: browsers ask each time, and receive it again if it has changed.
        headers = {**_ANYWHERE, "Cache-Control": "no-cache"}
        return FileResponse(SCRIPT, media_type="text/javascript", headers=headers)

    async def take(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_ANYWHERE | _PREFLIGHT)
        try:
            await self._record(request)
        except Refusal as refusal:
            # A page never sees the response to a beacon; its developer looks here.
            logger.warning(
                "web_sdk_event_refused status=%d reason=%r",
                refusal.status,
                refusal.title,
            )
            envelope = refusal.envelope(self._sandbox.letters)
            response = json_response(envelope, refusal.status)
            response.headers.update(_ANYWHERE)
            return response
        return Response(status_code=204, headers=_ANYWHERE)

    async def _record(self, request: Request) -> None:
        body = await read_body(request.receive, MAX_REPORT)
        if body is None:
            raise too_large(MAX_REPORT)
        sandbox, now = self._sandbox, self._sandbox.clock()
        report = read_object(parse_body(body), "body")
        if read_text(report, "app_id") not in app_keys(sandbox.workspace):
            raise Refusal(
                400,
                "Request Error",
                "No workspace has this app_id: the SDK's appId is the workspace id.",
            )
        action = _read_action(report, int(now))
        element = Element(
            customer_id=_find_customer(report, action.device_uuid, sandbox.store),
            user_attributes={},
            user_timezone_offset=None,
            actions=(action,),
        )
        sandbox.store.record([element], now)


def _read_action(report: dict[str, Any], now: int) -> Action:
    """Return the event of one call of ``trackImpression`` or ``trackClick``."""
    name = read_enum(report, "action", WEB_SDK_ACTIONS)
    if name is None:
        raise invalid_field("action", "Value cannot be None")
    attributes = read_context(report.get("attributes"))
    if not attributes["cid"]:
        raise invalid_field("cid", "String value empty not allowed")
    b_ids = (read_text(attributes, one, None) for one in ELEMENT_IDS)
    return Action(
        action=ACTIONS[WEB_SDK_ACTIONS.index(name)],
        # The store needs an id and the page has none: each report is a new event.
        uuid=str(uuid4()),
        event_time=now,
        platform="web",
        attributes=attributes,
        b_id=next(filter(None, b_ids), None),
        via=Via.WEB_SDK,
        device_uuid=_read_uuid(report, "device_uuid"),
    )


def _find_customer(
    report: dict[str, Any], device_uuid: str | None, store: Store
) -> str:
    """Return the id for an event: the customer's, or else the device's.

    ``user`` has the arguments of ``identifyUser``, ``uid`` and identifiers; it is empty
    for an anonymous visitor.
    """
    user = read_object(report.get("user", {}), "user")
    for name in user:
        if not read_text(user, name):
            raise invalid_field(name, "String value empty not allowed")
    if "uid" in user:
        return str(user["uid"])
    fetch = Fetch(
        keys=None,
        customer_id=None,
        visitor_id=device_uuid,
        user_identifiers=user,
        session={},
    )
    return store.visitor(fetch).user_id


def _read_uuid(document: dict[str, Any], field: str) -> str:
    text: str = read_text(document, field)
    try:
        # UUID() also takes one in braces or without dashes.
        same = str(UUID(text)) == text.lower()
    except ValueError:
        same = False
    if not same:
        raise invalid_field(field, "Value is no UUID")
    return text.lower()
