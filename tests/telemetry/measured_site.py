"""A site with ``/metrics``, for several uvicorn workers; pages tell their process."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from moe_middleware import MoEngageMiddleware
from moe_middleware.telemetry.prometheus import metrics_app


async def page(request: Request) -> Response:
    request.state.experiences.show("homepage-banner")
    return PlainTextResponse(str(os.getpid()))


def site() -> MoEngageMiddleware:
    routes = [Route("/", page), Mount("/metrics", metrics_app())]
    return MoEngageMiddleware(Starlette(routes=routes))
