"""A stand-in for MoEngage's Web SDK: its script, and the reports of pages.

The other documented way of counting beside the API: the browser reports events itself.
Nothing is deduplicated: the SDK's events have no id, so each call counts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One call of ``trackImpression`` or ``trackClick``.

    Attributes:
        app_id: The workspace in the page's configuration.
        device_uuid: The result of ``Moengage.device.getUuid()``.
        user: The arguments of ``identifyUser``, ``uid`` and identifiers; empty for an
            anonymous visitor.
        action: One of ``events.ACTIONS``.
        attributes: The experience_context, with additions of the SDK and the page.
        b_id: The clicked element, if the page names it.
    """

    app_id: str
    device_uuid: str
    user: Mapping[str, str]
    action: str
    attributes: Mapping[str, Any]
    b_id: str | None


def parse_report(document: object) -> Report:
    """Parse a page's report.

    Raises:
        Refusal: A field is missing or invalid.
    """
    report = read_object(document, "body")
    app_id = read_text(report, "app_id")
    action = read_enum(report, "action", WEB_SDK_ACTIONS)
    if action is None:
        raise invalid_field("action", "Value cannot be None")
    attributes = read_context(report.get("attributes"))
    if not attributes["cid"]:
        raise invalid_field("cid", "String value empty not allowed")
    return Report(
        app_id=app_id,
        device_uuid=_read_uuid(report, "device_uuid"),
        user=_read_user(report),
        action=ACTIONS[WEB_SDK_ACTIONS.index(action)],
        attributes=attributes,
        b_id=_read_b_id(attributes),
    )


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
        body = await read_body(request.receive)
        if body is None or len(body) > MAX_REPORT:
            raise too_large(MAX_REPORT)
        report = parse_report(parse_body(body))
        sandbox = self._sandbox
        if report.app_id not in app_keys(sandbox.workspace):
            raise Refusal(
                400,
                "Request Error",
                "No workspace has this app_id: the SDK's appId is the workspace id.",
            )
        now = sandbox.clock()
        action = Action(
            action=report.action,
            # The store needs an id and the page has none: each report is a new event.
            uuid=str(uuid4()),
            event_time=int(now),
            platform="web",
            attributes=report.attributes,
            b_id=report.b_id,
            via=Via.WEB_SDK,
            device_uuid=report.device_uuid,
        )
        element = Element(
            customer_id=_find_customer(report, sandbox.store),
            user_attributes={},
            user_timezone_offset=None,
            actions=(action,),
        )
        sandbox.store.record([element], now)


def _find_customer(report: Report, store: Store) -> str:
    """Return the id for an event: the customer's, or else the device's."""
    if "uid" in report.user:
        return report.user["uid"]
    fetch = Fetch(
        keys=None,
        customer_id=None,
        visitor_id=report.device_uuid,
        user_identifiers=report.user,
        session={},
    )
    return store.visitor(fetch).user_id


def _read_uuid(document: dict[str, Any], field: str) -> str:
    text: str = read_text(document, field)
    try:
        same = str(UUID(text)) == text.lower()
    except ValueError:
        same = False
    if not same:
        raise invalid_field(field, "Value is no UUID")
    return text.lower()


def _read_user(document: dict[str, Any]) -> dict[str, str]:
    user = read_object(document.get("user", {}), "user")
    for name in user:
        if not read_text(user, name):
            raise invalid_field(name, "String value empty not allowed")
    return user


def _read_b_id(attributes: dict[str, Any]) -> str | None:
    named = (read_text(attributes, name, None) for name in ELEMENT_IDS)
    return next((b_id for b_id in named if b_id), None)
