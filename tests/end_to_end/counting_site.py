"""A site whose pages show the source of their answers, for tests of failures.

``uvicorn --factory tests.end_to_end.counting_site:configured`` serves it with the
settings of ``MOE_CONFIG``. While the file of ``HANGING_NAMES`` exists, no name is
looked up: as with a name server that hangs.
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
    """Return the source, the reason and the title of the visitor's answer."""
    hero = request.state.experiences.show(KEY)
    title = hero.get("Title", "Welcome")
    return PlainTextResponse(f"{hero.source} {hero.reason} {title}")


async def plain(_: Request) -> Response:
    """A page without a route."""
    return PlainTextResponse("plain None Welcome")


def site(config: Settings | None = None) -> MoEngageMiddleware:
    async def counts(_: Request) -> Response:
        """Return all counts so far."""
        return JSONResponse(await app.runtime.health())

    routes = [Route("/", page), Route("/plain", plain), Route("/counts", counts)]
    app = MoEngageMiddleware(Starlette(routes=routes), config=config)
    return app


def configured() -> MoEngageMiddleware:
    return site()
