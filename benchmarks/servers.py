"""The servers under measurement, each a process of its own.

``python -m benchmarks.servers NAME DIRECTORY`` is such a process: it listens on a free
port of 127.0.0.1 and prints its number, as JSON, once it is ready.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from moe_middleware.sandbox import Sandbox, sample_workspace
from moe_middleware.sandbox.listeners import listen

from .peers.contract import CONTEXT, KEY
from .processes import Worker, worker
from .scripts_site import scripts_site
from .shop import MANY_VISITORS, WARM_VISITORS, bare_shop, fill_cache, our_shop
from .upstream import PAYLOAD

SANDBOX_FILE = "sandbox.db"


@contextmanager
def server(name: str, directory: Path) -> Iterator[Worker]:
    """Run a server until the block ends."""
    module = "benchmarks.servers"
    with worker(name, module, name, directory, folder=directory) as started:
        yield started


def _listening() -> socket.socket:
    listener = listen()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    return listener


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
    config = uvicorn.Config(app, log_level="error", access_log=False)
    await uvicorn.Server(config).serve(sockets=[_listening()])


def _json_route() -> Starlette:
    """Return an app that sends the same answer as JSON from a plain route."""
    answer = {"experiences": {KEY: {"payload": PAYLOAD, "experience_context": CONTEXT}}}

    async def fetch(_request: Request) -> JSONResponse:
        return JSONResponse(answer)

    return Starlette(routes=[Route("/v1/experiences/fetch", fetch, methods=["POST"])])


def _serve_sandbox(db: str) -> None:
    """Serve the sandbox as its command does, but with no limit of fetches."""
    from moe_middleware.sandbox.uvicorn import run

    workspace = replace(sample_workspace(), fetch_limit=10**9)
    run(Sandbox(workspace, db=db), _listening(), "error")


if __name__ == "__main__":
    import uvloop

    match sys.argv[1]:
        case "sandbox":
            _serve_sandbox(":memory:")
        case "sandbox-file":
            _serve_sandbox(str(Path(sys.argv[2]) / SANDBOX_FILE))
        case name:
            uvloop.run(_serve(name, Path(sys.argv[2])))
