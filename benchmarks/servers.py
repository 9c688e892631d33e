"""The servers under measurement, each a process of its own.

``python -m benchmarks.servers NAME DIRECTORY`` is such a process: it listens on a free
port of 127.0.0.1 and prints its number once it is ready.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from moe_middleware.sandbox import Sandbox, sample_workspace
from moe_middleware.sandbox.listeners import listen

from .scripts_site import scripts_site
from .shop import MANY_VISITORS, WARM_VISITORS, bare_shop, fill_cache, our_shop

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0

ANSWER = (
    b'{"experiences":{"homepage-banner":{"payload":{'
    b'"Title":{"value":"Slow mornings, good tea","data_type":"string"},'
    b'"Subtitle":{"value":"Small-batch leaves, blended by hand","data_type":"string"},'
    b'"CTA Label":{"value":"Shop now","data_type":"string"},'
    b'"CTA URL":{"value":"/shop","data_type":"string"}},'
    b'"experience_context":{"cid":"66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",'
    b'"experience":"Homepage banner","moe_locale_id":"0","moe_variation_id":"2",'
    b'"audience_name":"All Users","audience_id":"5A","type":"Web Personalization",'
    b'"experience_type":"API based Experience"}}}}'
)


SANDBOX_FILE = "sandbox.db"


@asynccontextmanager
async def server(name: str, directory: Path) -> AsyncIterator[int]:
    """Run a server; the value is its port. It ends with the block."""
    async with process(name, directory) as (port, _):
        yield port


@asynccontextmanager
async def process(name: str, directory: Path) -> AsyncIterator[tuple[int, int]]:
    """Run a server; the values are its port and its process id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.servers", name, str(directory)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT):
            port = int(await process.stdout.readline())
        yield port, process.pid
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _serve(name: str, directory: Path) -> None:
    logging.getLogger("moe_middleware").setLevel(logging.ERROR)
    app: ASGIApp
    match name:
        case "bare":
            app = bare_shop()
        case "ours":
            app = ours = our_shop(directory)
            await fill_cache(ours, MANY_VISITORS)
        case "scripts":
            app = scripts = scripts_site(directory)
            await fill_cache(scripts, WARM_VISITORS)
        case "json":
            app = _json_route()
        case _:
            raise ValueError(f"{name!r} is no server of the benchmarks")
    listener = listen()
    config = uvicorn.Config(app, log_level="error", access_log=False)
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def _json_route() -> Starlette:
    """Return an app that sends the same answer as JSON from a plain route."""
    answer = orjson.loads(ANSWER)

    async def fetch(_request: Request) -> JSONResponse:
        return JSONResponse(answer)

    return Starlette(routes=[Route("/v1/experiences/fetch", fetch, methods=["POST"])])


def _serve_sandbox(db: str) -> None:
    """Serve the sandbox as its command does, but with no limit of fetches."""
    from moe_middleware.sandbox.uvicorn import run

    workspace = replace(sample_workspace(), fetch_limit=10**9)
    listener = listen()
    print(listener.getsockname()[1], flush=True)
    run(Sandbox(workspace, db=db), listener, "error")


if __name__ == "__main__":
    import uvloop

    match sys.argv[1]:
        case "sandbox":
            _serve_sandbox(":memory:")
        case "sandbox-file":
            _serve_sandbox(str(Path(sys.argv[2]) / SANDBOX_FILE))
        case name:
            uvloop.run(_serve(name, Path(sys.argv[2])))
