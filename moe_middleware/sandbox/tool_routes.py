"""The tools for people and tests beside the API: events, faults, calls, reset."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .memory.state import State
from .protocol.bodies import parse_body, read_body
from .protocol.endpoints import METHODS, ROOT
from .protocol.refusals import Refusal
from .workspace.faults import parse_fault

TOOLS = (
    *("report", "explain", "events", "requests", "leniencies"),
    *("faults", "reset", "web_sdk.js"),
)


def tool_routes(sandbox: State) -> list[Route]:
    """Return the routes of the tools."""
    tools = _Tools(sandbox)
    return [
        Route("/_sandbox/events", tools.show_events, methods=["GET"]),
        Route("/_sandbox/requests", tools.show_requests, methods=["GET"]),
        Route("/_sandbox/leniencies", tools.show_leniencies, methods=["GET"]),
        Route("/_sandbox/faults", tools.edit_faults, methods=["GET", "POST", "DELETE"]),
        Route("/_sandbox/reset", tools.reset, methods=["POST"]),
        Route("/openapi.json", tools.show_openapi, methods=["GET"]),
        Route("/", tools.introduce, methods=["GET"]),
    ]


def json_response(document: Any, status: int = 200) -> Response:
    """Return a response with a body of JSON."""
    return Response(orjson.dumps(document), status, media_type="application/json")


class _Tools:
    def __init__(self, sandbox: State) -> None:
        self._sandbox = sandbox

    async def show_events(self, request: Request) -> Response:
        since = _read_number(request, "since", "0")
        store = self._sandbox.store
        return json_response(
            {"count": store.count(), "events": store.events(since=since)}
        )

    async def show_requests(self, request: Request) -> Response:
        limit = _read_number(request, "limit", "500")
        endpoint = request.query_params.get("endpoint")
        latest = self._sandbox.requests.latest(limit, endpoint)
        return json_response({"requests": [one.as_document() for one in latest]})

    async def show_leniencies(self, _request: Request) -> Response:
        sandbox = self._sandbox
        noted = sandbox.leniencies.as_documents()
        return json_response({"strict": sandbox.workspace.strict, "leniencies": noted})

    async def edit_faults(self, request: Request) -> Response:
        faults = self._sandbox.faults
        if request.method == "POST":
            document = parse_body(await read_body(request.receive))
            try:
                faults.add(parse_fault(document))
            except ValueError as error:
                raise Refusal(400, "Bad fault", str(error)) from error
        elif request.method == "DELETE":
            self._take_back(request)
        return json_response({"faults": faults.as_documents()})

    async def reset(self, _request: Request) -> Response:
        self._sandbox.reset()
        return json_response({"status": "success"})

    async def show_openapi(self, request: Request) -> Response:
        server = {"url": f"{request.base_url}v1"}
        return json_response({**_openapi(), "servers": [server]})

    async def introduce(self, _request: Request) -> Response:
        workspace = self._sandbox.workspace
        return json_response(
            {
                "title": "MoEngage Personalize sandbox",
                "workspace": workspace.name,
                "workspace_id": workspace.workspace_id,
                "strict": workspace.strict,
                "problems": [str(one) for one in self._sandbox.problems],
                "api": [f"{ROOT}{name}" for name in METHODS],
                "openapi": "/openapi.json",
                "tools": [f"/_sandbox/{name}" for name in TOOLS],
            }
        )

    def _take_back(self, request: Request) -> None:
        if "id" not in request.query_params:
            self._sandbox.faults.clear()
        elif not self._sandbox.faults.remove(_read_number(request, "id", "")):
            raise Refusal(404, "Not Found", "No active fault has this id.")


def _read_number(request: Request, name: str, default: str) -> int:
    text = request.query_params.get(name, default)
    # "²" is a digit too; more than 18 digits may be too large for SQLite.
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Refusal(400, f"Bad {name}", f"{name} is a number, 0 or more.")
    return int(text)


@cache
def _openapi() -> Any:
    """Return the three endpoints as an OpenAPI 3.1 document."""
    file = Path(__file__).with_name("openapi.yml")
    return yaml.safe_load(file.read_text(encoding="utf-8"))
