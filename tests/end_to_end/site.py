"""The site of the end-to-end tests, served by a real uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from moe_middleware import MoEngageMiddleware

PAGE = """
{%- experience "homepage-banner" as banner -%}
<h1>{{ banner.Title }}</h1>
{%- else -%}
<h1>Welcome</h1>
{%- endexperience -%}
"""

env = Environment(
    loader=DictLoader({"page": PAGE}),
    extensions=["moe_middleware.jinja.MoEngageExtension"],
    autoescape=True,
)


async def home(request: Request) -> Response:
    return HTMLResponse(env.get_template("page").render(request=request))


async def slow(request: Request) -> Response:
    """Show the banner at once and go on sending for so many hundredths of a second."""
    pieces = int(request.query_params.get("pieces", "50"))

    async def body() -> AsyncIterator[str]:
        yield str(request.state.experiences.show("homepage-banner").Title)
        for _ in range(pieces):
            await asyncio.sleep(0.01)
            yield "." * 1000

    return StreamingResponse(body())


class Hasty(Response):
    """Megabytes without ever waiting for anything; it may listen itself meanwhile."""

    def __init__(self, listens: bool) -> None:
        self._listens = listens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while self._listens and (await receive())["type"] != "http.disconnect":
                pass

        listening = asyncio.create_task(listen())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for left in range(400, -1, -1):
            body = b"." * 10_000
            piece = {"type": "http.response.body", "body": body, "more_body": left > 0}
            await send(piece)
        listening.cancel()


async def hasty(request: Request) -> Response:
    request.state.experiences.show("homepage-banner")
    return Hasty("listens" in request.query_params)


routes = [Route("/", home), Route("/slow", slow), Route("/hasty", hasty)]
app = MoEngageMiddleware(Starlette(routes=routes))
