"""The sandbox's pages for people: its figures, and the reasons for its decisions.

Rendered on the server: they work without a script, and update live with one.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..memory.state import State
from .connect import connect, reset_form
from .events import events
from .experiences import experience
from .explain import explain_json, explain_page
from .faults import faults_page
from .overview import overview
from .rendering import HEADERS, HERE, Endpoint, go, page, render, state_of
from .requests import requests


class BrowserRoute(Route):
    """Handles requests for HTML only: programs get JSON at ``/``."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and wants_html(scope):
            return super().matches(scope)
        return Match.NONE, {}


class NowhereRoute(BrowserRoute):
    """Handles all paths that belong neither to the API nor to the tools."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if path.startswith(("/v1/", "/_sandbox/", "/openapi")):
            return Match.NONE, {}
        return super().matches(scope)


def wants_html(scope: Scope) -> bool:
    """Whether a request comes from a browser's address bar or from our script."""
    return any(
        name == b"accept" and b"text/html" in value for name, value in scope["headers"]
    )


def page_routes(sandbox: State) -> list[BaseRoute]:
    """Return the routes of the pages; they come first, before the tools' own ``/``."""

    def route(path: str, endpoint: Endpoint, *methods: str) -> Route:
        return Route(path, _excused(sandbox, endpoint), methods=methods or ("GET",))

    async def state(request: Request) -> Response:
        return PlainTextResponse(state_of(sandbox), headers=HEADERS)

    home = page(sandbox, "overview.html", overview)
    return [
        BrowserRoute("/", _excused(sandbox, home)),
        route("/experiences/{key:path}", page(sandbox, "experience.html", experience)),
        route("/events", page(sandbox, "events.html", events)),
        route("/explain", explain_page(sandbox)),
        route("/requests", page(sandbox, "requests.html", requests)),
        route("/faults", faults_page(sandbox), "GET", "POST"),
        route("/connect", page(sandbox, "connect.html", connect)),
        route("/help", _old_help),
        route("/reset", reset_form(sandbox), "POST"),
        route("/state", state),
        Route("/_sandbox/explain", explain_json(sandbox), methods=["GET"]),
        Route("/favicon.ico", _favicon),
        Mount("/static", StaticFiles(directory=HERE / "static")),
        NowhereRoute("/{path:path}", _excused(sandbox, _nowhere)),
    ]


def _excused(sandbox: State, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its errors as pages instead of JSON."""

    async def excused(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as error:
            what, status = error.detail, error.status_code
        heading = "Not found" if status == 404 else "Not possible"
        values = {"heading": heading, "what": what}
        return await render(
            sandbox, request, "missing.html", lambda: values, status=status
        )

    return excused


async def _old_help(request: Request) -> Response:
    return go(request, "connect", 308)


async def _favicon(request: Request) -> Response:
    return FileResponse(HERE / "static" / "favicon.svg", media_type="image/svg+xml")


async def _nowhere(request: Request) -> Response:
    raise HTTPException(404, "This sandbox has no page at this address.")
