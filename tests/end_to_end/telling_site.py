"""A site whose pages tell how they were answered, for tests of bad days.

``uvicorn --factory tests.end_to_end.telling_site:configured`` serves it with the
settings that ``MOE_CONFIG`` names. Where ``HANGING_NAMES`` names a file, a name is
looked up only while that file is not there: a name server that hangs.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

HANGS = os.environ.get("HANGING_NAMES")

if HANGS:
    _getaddrinfo = socket.getaddrinfo

    def _hanging(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        while Path(HANGS or "").exists():
            time.sleep(0.02)
        return _getaddrinfo("127.0.0.1", port, *args, **options)

    socket.getaddrinfo = _hanging

from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, PlainTextResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402

from moe_middleware import MoEngageMiddleware, Settings  # noqa: E402

KEY = "hero"


async def page(request: Request) -> Response:
    """Tell what every visitor gets: source, reason, title."""
    hero = request.state.experiences.show(KEY)
    title = hero.get("Title", "Welcome")
    return PlainTextResponse(f"{hero.source} {hero.reason} {title}")


async def plain(_: Request) -> Response:
    """Answer without our doing: no route names this page."""
    return PlainTextResponse("plain None Welcome")


def site(config: Settings | None = None) -> MoEngageMiddleware:
    async def told(_: Request) -> Response:
        """Tell what this site counted so far."""
        return JSONResponse(await app.runtime.health())

    routes = [Route("/", page), Route("/plain", plain), Route("/told", told)]
    app = MoEngageMiddleware(Starlette(routes=routes), config=config)
    return app


def configured() -> MoEngageMiddleware:
    return site()
