"""The page Events: the last events, with filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from ..memory.state import State
from ..protocol.events import ACTIONS, WEB_SDK_ACTIONS, Via
from ..workspace.schedules import find_zone

LIMIT = 50
"""Events on the page."""

_ACTIONS = {"impression": ACTIONS[0], "click": ACTIONS[1]}
_KINDS = {
    action: kind
    for actions in (ACTIONS, WEB_SDK_ACTIONS)
    for action, kind in zip(actions, _ACTIONS, strict=True)
}
_WAYS = {Via.API: "API", Via.WEB_SDK: "Web SDK"}


def events(sandbox: State, request: Request) -> dict[str, Any]:
    """Return the values of the page."""
    filters = {
        name: request.query_params.get(name, "").strip()
        for name in ("experience", "action", "customer")
    }
    found = sandbox.store.events(
        limit=LIMIT,
        newest_first=True,
        experience_key=filters["experience"] or None,
        action=_ACTIONS.get(filters["action"]),
        customer_id=filters["customer"] or None,
    )
    workspace = sandbox.workspace
    names = {one.key: one.name for one in workspace.experiences}
    return {
        "filters": filters,
        "filtered": any(filters.values()),
        "limit": LIMIT,
        "events": [_row(event, names) for event in found],
        "zone": workspace.timezone,
        "tz": find_zone(workspace.timezone),
    }


def _row(event: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    key, context = event["experience_key"], event["attributes"]
    return {
        "id": event["id"],
        "received_at": event["received_at"],
        "kind": _KINDS[event["action"]],
        "known": key in names,
        "experience_key": key,
        "experience_name": names.get(key)
        or context["experience"]
        or "an unknown experience",
        "variation_id": event["variation_id"],
        "audience": context["audience_name"],
        "customer_id": event["customer_id"],
        "b_id": event["b_id"],
        "way": _WAYS[event["via"]],
        "uuid": event["moe_event_uuid"],
    }
