"""The sandbox's pages: what it counted, and why it answers as it does, for people.

Server-rendered: they work without a script and are live with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from .events import events_page
from .experiences import experience_page
from .explain import explain_page
from .faults import faults_page
from .help import help_page, reset_form
from .overview import overview_page
from .rendering import HEADERS, HERE, Endpoint, render, state_of
from .requests import requests_page

if TYPE_CHECKING:
    from ..app import Sandbox


class BrowserRoute(Route):
    """Answers only who asks for HTML: to a program ``/`` goes on saying JSON."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and wants_html(scope):
            return super().matches(scope)
        return Match.NONE, {}


class NowhereRoute(BrowserRoute):
    """Takes every path that is none of the API's and the tools'."""

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


def page_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes of the pages; they come first, before the tools' own ``/``."""

    def page(path: str, endpoint: Endpoint, *methods: str) -> Route:
        return Route(path, _excused(sandbox, endpoint), methods=methods or ("GET",))

    async def state(request: Request) -> Response:
        return PlainTextResponse(state_of(sandbox), headers=HEADERS)

    return [
        BrowserRoute("/", _excused(sandbox, overview_page(sandbox))),
        page("/experiences/{key:path}", experience_page(sandbox)),
        page("/events", events_page(sandbox)),
        page("/explain", explain_page(sandbox)),
        page("/requests", requests_page(sandbox)),
        page("/faults", faults_page(sandbox), "GET", "POST"),
        page("/help", help_page(sandbox)),
        page("/reset", reset_form(sandbox), "POST"),
        page("/state", state),
        Route("/favicon.ico", _favicon),
        Mount("/static", StaticFiles(directory=HERE / "static")),
        NowhereRoute("/{path:path}", _excused(sandbox, _nowhere)),
    ]


def _excused(sandbox: Sandbox, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its errors told on a page instead of as JSON."""

    async def excused(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as error:
            what, status = error.detail, error.status_code
        return await render(
            sandbox, request, "missing.html", lambda: {"what": what}, status=status
        )

    return excused


async def _favicon(request: Request) -> Response:
    return FileResponse(HERE / "static" / "favicon.svg", media_type="image/svg+xml")


async def _nowhere(request: Request) -> Response:
    raise HTTPException(404, "The address may have a slip in it.")
