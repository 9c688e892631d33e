"""A site that sends and takes as many megabytes as it is asked to."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware

PIECE = bytes(1 << 16)


async def download(request: Request) -> Response:
    megabytes = int(request.query_params["megabytes"])

    async def body() -> AsyncIterator[bytes]:
        request.state.experiences.show("homepage-banner")
        for _ in range(16 * megabytes):
            yield PIECE

    return StreamingResponse(body())


async def upload(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return PlainTextResponse(str(size))


app = MoEngageMiddleware(
    Starlette(
        routes=[
            Route("/download", download),
            Route("/upload", upload, methods=["POST"]),
        ]
    )
)
