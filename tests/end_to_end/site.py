"""The site of the end-to-end tests, served by a real uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

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


routes = [Route("/", home), Route("/slow", slow)]
app = MoEngageMiddleware(Starlette(routes=routes))
