"""A small personalised site, and a browser for it without a network."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.personalizer.open_runtimes import runtime_for

Handler = Callable[[Request], Awaitable[Response]]

PAGE = """
{%- experience "homepage-banner" as banner %}<h1>{{ banner.Title }}</h1>
{%- else %}<h1>Welcome</h1>{% endexperience -%}
"""


def settings(**sections: Any) -> Settings:
    # A busy machine is not what most tests are about.
    fetch = {"timeout": 5, **sections.pop("fetch", {})}
    defaults: dict[str, Any] = {
        "data_center": "sandbox",
        "fetch": fetch,
        "identity": {"customer_id": {"cookie": "customer_id"}},
        "routes": [{"path": "/", "experiences": ["homepage-banner"]}],
        "events": {"outbox": "memory:"},
    }
    return Settings(**(defaults | sections))


def rendered(template: str = PAGE, **environment: Any) -> Handler:
    """Return a handler that renders one template."""
    env = Environment(
        loader=DictLoader({"page": template}),
        extensions=["moe_middleware.jinja.MoEngageExtension"],
        autoescape=True,
        **environment,
    )

    async def handler(request: Request) -> Response:
        return HTMLResponse(env.get_template("page").render(request=request))

    return handler


class Clock:
    """A clock that stands still; a test moves it."""

    def __init__(self, now: float | None = None) -> None:
        # The hour is part of every fetch: none ends in the middle of a test.
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now


class Site:
    """A wrapped app and a browser that visits it."""

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        path: str = "/",
        app: ASGIApp | None = None,
        clock: Clock | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
        **sections: Any,
    ) -> None:
        app = app or Starlette(
            routes=[Route(path, handler or rendered(), methods=["GET", "POST"])]
        )
        self.clock = clock or Clock()
        config = settings(**sections)
        self.runtime = runtime_for(config, clock=self.clock, stopwatch=stopwatch)
        self.app = MoEngageMiddleware(app, config=config)

    async def get(self, path: str = "/", **request: Any) -> httpx.Response:
        return await self.request("GET", path, **request)

    async def request(
        self,
        method: str,
        path: str = "/",
        *,
        customer: str | None = None,
        headers: dict[str, str] | None = None,
        base_url: str = "http://shop.example",
        **body: Any,
    ) -> httpx.Response:
        """Send a request; ``body`` is httpx's ``content`` or ``data``."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        sent = dict(headers or {})
        if customer is not None:
            sent["cookie"] = f"customer_id={customer}"
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as browser:
            return await browser.request(method, path, headers=sent, **body)

    async def delivered(self) -> None:
        """Deliver what waits in the outbox, as a shutdown does."""
        await self.runtime.stop()
