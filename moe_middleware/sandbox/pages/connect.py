"""Connect: credentials, calls to copy, the workspace's settings, and the reset."""

from __future__ import annotations

import shlex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..memory.state import State
from ..workspace.workspace import Workspace
from .calls import sample_calls
from .rendering import Endpoint, address_of, go, read_form

TOOLS = (
    ("_sandbox/report", "Report (JSON)"),
    ("_sandbox/report.csv", "Report (CSV)"),
    ("_sandbox/explain", "Explain (JSON); takes ?customer_id= and the form's fields"),
    ("_sandbox/events", "Events (JSON); ?since=N skips the first N"),
    ("_sandbox/requests", "Requests (JSON), credentials masked"),
    ("_sandbox/faults", "Faults (JSON); POST adds one, DELETE removes them"),
    ("_sandbox/web_sdk.js", "Stand-in for the Web SDK's script"),
    ("openapi.json", "OpenAPI document of the API"),
)

_CUSTOMERS = 50


def reset_form(sandbox: State) -> Endpoint:
    """Return the endpoint that deletes all data."""

    async def reset(request: Request) -> Response:
        await read_form(request)
        sandbox.reset()
        return go(request, "")

    return reset


def connect(sandbox: State, request: Request) -> dict[str, Any]:
    """Return the values of the page."""
    workspace, address = sandbox.workspace, address_of(request)
    return {
        "address": address,
        "first": sample_calls(workspace, address, sandbox.clock()),
        "exports": _exports(workspace, address),
        "tools": TOOLS,
        "settings": _settings(workspace),
        "customers": workspace.customers[:_CUSTOMERS],
        "more_customers": max(0, len(workspace.customers) - _CUSTOMERS),
    }


def _exports(workspace: Workspace, address: str) -> str:
    key = workspace.api_keys[0] if workspace.api_keys else ""
    variables = {
        "MOE_BASE_URL": f"{address}/v1",
        "MOE_WORKSPACE_ID": workspace.workspace_id,
        "MOE_API_KEY": key,
    }
    return "\n".join(f"export {k}={shlex.quote(v)}" for k, v in variables.items())


def _settings(workspace: Workspace) -> list[tuple[str, str]]:
    return [
        ("Reading", "strict" if workspace.strict else "lenient, with warnings"),
        ("Timezone", workspace.timezone),
        ("Fetches a minute", f"{workspace.fetch_limit:,}"),
        ("Identity Resolution", "on" if workspace.identity_resolution else "off"),
        ("Global control group", f"{workspace.control_group.percent:g}%"),
        (
            "Custom segments",
            ", ".join(segment.name for segment in workspace.segments) or "none",
        ),
        (
            "Paused experience",
            "an empty payload" if workspace.paused_as_empty_payload else "left out",
        ),
        (
            "Unknown platform",
            "refused" if workspace.strict_platform else "stored as Unknown",
        ),
    ]
