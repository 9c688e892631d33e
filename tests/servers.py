"""Real processes on real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from . import forks

PATIENCE = 40.0
"""The time limit of each wait, in seconds; usually it takes a fraction."""


PORTS = range(12_000, 32_000)
"""Below those that the system gives to outgoing connections: one of these could take
a port before its server does, or reach itself where no server listens."""

WORKERS = 16
"""Processes that share them out, at most."""


def free_port() -> int:
    """Return a port that no other test of this run is given."""
    while True:
        port = next(_ports)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _own_ports() -> Iterator[int]:
    # pytest-xdist's processes are called gw0, gw1, ...
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = PORTS[worker % WORKERS :: WORKERS]
    # Two runs at once begin at different ones.
    begin = os.getpid() % len(ports)
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_ports = _own_ports()

browser = httpx.Client(trust_env=False, verify=False, timeout=PATIENCE)
"""For every request of these tests: making a client costs more than a page."""


class Process:
    """A Python module running as a server on 127.0.0.1."""

    def __init__(self, port: int, process: forks.Program, log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        """End it as a deploy does, with SIGTERM."""
        self.process.terminate()
        self.process.wait(PATIENCE)


@contextmanager
def running(
    *arguments: str,
    port: int,
    log: Path,
    environ: Mapping[str, str] | None = None,
    measured: bool = True,
) -> Iterator[Process]:
    """Run ``python ARGUMENTS`` until the block ends; begins once it listens.

    Args:
        arguments: Python's.
        port: Where it listens.
        log: Gets its output.
        environ: More environment variables.
        measured: Whether its coverage is measured, which takes half of its time.
    """
    environ = {**os.environ, **(environ or {})}
    if not measured:
        environ.pop("COVERAGE_PROCESS_CONFIG", None)
    with log.open("ab") as output:
        started = forks.start(*arguments, environ=environ, stdout=output)
    process = Process(port, started, log)
    try:
        wait_for(lambda: _listens(process), what=f"{arguments} to listen")
        yield process
    finally:
        if started.poll() is None:
            process.stop()


def _listens(process: Process) -> bool:
    if process.process.poll() is not None:
        raise AssertionError(f"the server ended: {process.log()}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", process.port)) == 0


def wait_for(condition: object, *, what: str, every: float = 0.05) -> None:
    """Ask ``condition()`` again and again until it holds; fail after ``PATIENCE``."""
    assert callable(condition)
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {PATIENCE:g} seconds for {what}")
        time.sleep(every)


@contextmanager
def sandbox_server(port: int, folder: Path, *options: str) -> Iterator[Process]:
    """The sandbox as ``moe-middleware sandbox`` runs it."""
    with running(
        *("-m", "moe_middleware", "sandbox", "--port", str(port), *options),
        port=port,
        log=folder / "sandbox.log",
        measured=False,
    ) as process:
        yield process


@contextmanager
def site_server(
    folder: Path, api: str, *arguments: str, **environ: str
) -> Iterator[Process]:
    """A site's server, with the ``moe.yml`` of a folder.

    Args:
        folder: Gets the server's log, too.
        api: The address of the API.
        arguments: Python's; ``{port}`` stands for a free port.
        environ: More environment variables.
    """
    port = free_port()
    with running(
        *(one.replace("{port}", str(port)) for one in arguments),
        port=port,
        log=folder / "site.log",
        environ={
            "MOE_CONFIG": str(folder / "moe.yml"),
            "MOE_BASE_URL": f"{api}/v1",
            **environ,
        },
    ) as process:
        yield process


def fetches(server: Process) -> list[dict[str, Any]]:
    """Return the bodies of the fetches that a sandbox answered, the oldest first."""
    answer = browser.get(f"{server.url}/_sandbox/requests")
    found = [one for one in answer.json()["requests"] if one["endpoint"] == "fetch"]
    found.sort(key=lambda one: one["number"])
    return [json.loads(one["request_body"]) for one in found]


def counted(server: Process) -> list[dict[str, object]]:
    """Return the events that a sandbox has stored."""
    answer = browser.get(f"{server.url}/_sandbox/events")
    events: list[dict[str, object]] = answer.json()["events"]
    return events


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until ``condition()`` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)
