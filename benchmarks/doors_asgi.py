"""The ASGI door: beside the usual kind of middleware, and under every server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from .doors_site import TOLD
from .effort import FULL, Effort
from .ratios import NO_GOAL, Figure, Measure, Note, Row, compare
from .shop import (
    HEADERS,
    WARM_VISITORS,
    bare_shop,
    fill_cache,
    our_shop,
    request_scope,
    visit,
)
from .throughput import SCRIPT, figures, wrk_is_here

REQUESTS = 2_000
ROUNDS = 9
PAGES = 5_000
CONNECTIONS = 16
START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
"""In seconds."""

APP = "benchmarks.doors_site:app"
QUIET = ("--log-level", "error")

SERVERS: dict[str, tuple[str, ...]] = {
    "uvicorn, httptools and uvloop": (*("uvicorn", APP, "--port", "{port}"), *QUIET),
    "uvicorn, h11 and asyncio": (
        *("uvicorn", APP, "--port", "{port}", *QUIET),
        *("--http", "h11", "--loop", "asyncio"),
    ),
    "hypercorn": ("hypercorn", APP, "--bind", "127.0.0.1:{port}"),
    "granian": (
        *("granian", "--interface", "asgi", "--port", "{port}", APP),
        *("--log-level", "error"),
    ),
    "daphne": ("daphne", "--port", "{port}", "--verbosity", "0", APP),
}


async def doors_asgi(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Compare what a request costs, and count 5,000 pages under every server."""
    async for row in _costs(directory, effort):
        yield row
    if not wrk_is_here():
        yield Note(text="left out: wrk is not on the PATH")
        return
    for name, command in SERVERS.items():
        folder = directory / re.sub(r"\W", "-", name)
        folder.mkdir()
        async with _server(command, folder) as port:
            yield await _count(name, port, folder, effort.amount(PAGES))
            if name.startswith("uvicorn, httptools"):
                yield await _large(port, folder)


class _Base(BaseHTTPMiddleware):
    async def dispatch(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        return await call_next(request)


async def _costs(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    bare, ours, base = bare_shop(), our_shop(directory), _Base(bare_shop())
    await fill_cache(ours, WARM_VISITORS)
    requests, rounds = effort.amount(REQUESTS), effort.rounds_of(ROUNDS)
    for path, what in (("/unmapped", "an unmapped path"), ("/", "a cached page")):
        yield await compare(
            f"{what}, in process, beside the bare app",
            ours=_cost(ours, path, requests),
            rival=_cost(bare, path, requests),
            unit="us CPU",
            goal=NO_GOAL,
            rounds=rounds,
        )
        yield await compare(
            "  and beside an empty BaseHTTPMiddleware",
            ours=_cost(ours, path, requests),
            rival=_cost(base, path, requests),
            unit="us CPU",
            goal="<= 1.0" if path == "/unmapped" else NO_GOAL,
            rounds=rounds,
        )
    await ours.runtime.stop()


def _cost(app: ASGIApp, path: str, requests: int) -> Measure:
    scope = request_scope(path, 1)

    async def measure() -> float:
        started = time.process_time()
        for _ in range(requests):
            await visit(app, scope)
        return (time.process_time() - started) / requests * 1e6

    return measure


async def _count(name: str, port: int, folder: Path, wanted: int) -> Figure:
    """Have wrk visit until so many pages are there, and see that all were counted."""
    script = folder / "visitors.lua"
    script.write_text(SCRIPT % {"visitors": WARM_VISITORS})
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d1s", "-s", str(script)]
    for header, value in HEADERS.items():
        # wrk sends a host by itself, and h11 refuses a request with two.
        command += ["-H", f"{header}: {value}"] if header != "host" else []
    seen, rates = 0, []
    while seen < wanted:
        process = await asyncio.create_subprocess_exec(
            *command, f"http://127.0.0.1:{port}/", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        count, rate = figures(output.decode())
        seen += count
        rates.append(rate)
    told = await _told_at_rest(port)
    pages, impressions = told["pages"], told["impressions"]
    # Those that wrk broke off at its ends are no views.
    if not 2 * seen <= impressions <= 2 * pages:
        raise RuntimeError(f"{name}: {seen} pages by wrk, and the site told {told}")
    return Figure(
        what=f"{name}: every page shows two",
        text=f"{pages} pages, {impressions} impressions, {max(rates):.0f} pages/s",
        goal="equal",
    )


async def _told_at_rest(port: int) -> dict[str, int]:
    """What the site tells once nothing is on its way that wrk broke off."""
    told: dict[str, int] = {}
    before: dict[str, int] | None = None
    async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
        while told != before or not told:
            await asyncio.sleep(0.5)
            before = told
            told = (await browser.get(f"http://127.0.0.1:{port}{TOLD}")).json()
    return told


async def _large(port: int, folder: Path) -> Figure:
    """Send 100 MB each way, and see how far the server's memory grows."""
    pid = int((folder / "pid").read_text())
    before = _memory(pid)
    size = 0
    async with httpx.AsyncClient(trust_env=False, timeout=60) as browser:
        address = f"http://127.0.0.1:{port}"
        async with browser.stream("GET", f"{address}/download") as response:
            async for piece in response.aiter_bytes():
                size += len(piece)
        got = await browser.post(f"{address}/upload", content=_pieces())
    if (size, int(got.text)) != (100 << 20, 100 << 20):
        raise RuntimeError(f"{size} bytes down and {got.text} up are not 100 MB each")
    grown = _memory(pid) - before
    return Figure(
        what="  100 MB down and 100 MB up: its memory grows",
        text=f"{grown:.1f} MB",
        goal="<= 10 MB",
        value=grown,
    )


async def _pieces() -> AsyncIterator[bytes]:
    for _ in range(1600):
        yield bytes(1 << 16)


def _memory(pid: int) -> float:
    """The most memory that a process ever had, in MB; 0 where nobody tells."""
    status = Path(f"/proc/{pid}/status")
    found = status.exists() and re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) / 1024 if found else 0.0


@asynccontextmanager
async def _server(command: tuple[str, ...], folder: Path) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    arguments = [part.format(port=port) for part in command]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            env={**os.environ, "MOE_BENCH_DIRECTORY": str(folder)},
            stdout=log,
            stderr=log,
        )
    (folder / "pid").write_text(str(process.pid))
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"it ended: {(folder / 'log').read_text()}")
                await asyncio.sleep(0.05)
        yield port
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
