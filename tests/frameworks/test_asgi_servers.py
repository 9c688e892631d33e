"""The servers that people run, each started for real: pages equal impressions."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..servers import (
    Process,
    counted,
    free_port,
    running,
    sandbox_server,
    site_server,
    wait_for,
)

PAGES = 100
LISTENS = "127.0.0.1"
APP = "tests.end_to_end.site:app"

CONFIG = """
workspace: {id: sandbox, api_key: sandbox-key}
identity: {customer_id: {cookie: customer_id}}
routes:
  - {path: "/{page:path}", experiences: [homepage-banner]}
fetch: {timeout: 5}
metadata: {interval: 0}
# Nothing is delivered before the end.
events: {outbox: "memory:", interval: 3600, shutdown_timeout: 20}
"""


HYPERCORN = f"hypercorn {APP} --bind {LISTENS}:{{port}} --graceful-timeout 1"
GRANIAN = f"granian --interface asgi --port {{port}} {APP}"

SERVERS = {
    "uvicorn": (f"uvicorn {APP} --port {{port}} --no-access-log", 1),
    "hypercorn": (HYPERCORN, 1),
    "hypercorn, HTTP/2": (HYPERCORN, 2),
    "granian": (GRANIAN, 1),
    "granian, HTTP/2": (GRANIAN, 2),
    "daphne": (f"daphne --port {{port}} --verbosity 0 {APP}", 1),
}
"""The command of each server, and the version of HTTP."""

PYTHONS = {"uvicorn", "hypercorn", "daphne"}
"""Servers whose own event loop is the app's: all that they know is heard in time, also
by an app that never waits."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with sandbox_server(free_port(), tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.mark.parametrize("name", SERVERS)
def test_every_page_is_an_impression_and_sigterm_delivers_them(
    sandbox: Process, tmp_path: Path, name: str
) -> None:
    server, version = SERVERS[name]
    (tmp_path / "moe.yml").write_text(CONFIG)
    before = len(counted(sandbox))
    with site_server(tmp_path, sandbox.url, "-m", *server.split()) as site:
        port = site.port
        with visitor(port, version) as browser:
            pages = {browser.get("/").text for _ in range(PAGES - 1)}
            hasty = len(browser.get("/hasty?listens=1").content)
        leave_early(port, version)
        if name in PYTHONS:
            for path in ("/hasty", "/hasty?listens=1"):
                for _ in range(RESETS):
                    reset(port, path)
        undelivered = len(counted(sandbox))
        site.stop()
        wait_for(lambda: len(counted(sandbox)) >= before + PAGES, what="the events")

    assert hasty > 1_000_000
    assert len(pages) == 1
    assert re.fullmatch("<h1>(?!Welcome).+</h1>", pages.pop())
    assert undelivered == before
    assert len(counted(sandbox)) == before + PAGES


def visitor(port: int, version: int) -> httpx.Client:
    """Return a browser; its HTTP/2 is by prior knowledge, as between a proxy and us."""
    return httpx.Client(
        base_url=f"http://{LISTENS}:{port}",
        http1=version == 1,
        http2=version == 2,
        cookies={"customer_id": "alice"},
        headers={"user-agent": "Firefox"},
        timeout=20,
        trust_env=False,
    )


def leave_early(port: int, version: int) -> None:
    """Ask for a long page and close the connection in the middle of it."""
    with (
        visitor(port, version) as browser,
        browser.stream("GET", "/slow?pieces=200") as response,
    ):
        assert response.status_code == 200
        next(response.iter_bytes())


RESETS = 20


def reset(port: int, path: str) -> None:
    """Ask for a page and cut the connection, as one who closes a tab does."""
    with socket.create_connection((LISTENS, port)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: shop\r\nCookie: customer_id=alice\r\n\r\n"
        connection.sendall(head.encode())
        now = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)


MEGABYTES = 40
SLACK = 12
"""How much the server's memory may grow by while it handles them, in MB."""


def test_large_bodies_pass_through_without_being_kept(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(
        "workspace: {data_center: sandbox}\n"
        "identity: {customer_id: {cookie: customer_id}}\n"
        "routes: [{path: '/{page:path}', experiences: [homepage-banner]}]\n"
        "events: {outbox: 'memory:', relay: off}\n"
    )
    port = free_port()
    with running(
        *("-m", "uvicorn", "tests.frameworks.large:app", "--port", str(port)),
        port=port,
        log=tmp_path / "log",
        environ={"MOE_CONFIG": str(tmp_path / "moe.yml")},
    ) as site:
        download(site, 1)
        upload(site, 1)
        before = memory(site)

        assert download(site, MEGABYTES) == MEGABYTES << 20
        assert upload(site, MEGABYTES) == MEGABYTES << 20
        grown = memory(site) - before

    print(f"{grown:.1f} MB more for {MEGABYTES} MB each way")
    assert grown < SLACK


def download(site: Process, megabytes: int) -> int:
    address = f"{site.url}/download?megabytes={megabytes}"
    with httpx.stream("GET", address, trust_env=False, timeout=20) as response:
        return sum(len(piece) for piece in response.iter_bytes())


def upload(site: Process, megabytes: int) -> int:
    pieces = (bytes(1 << 16) for _ in range(16 * megabytes))
    address = f"{site.url}/upload"
    return int(httpx.post(address, content=pieces, trust_env=False, timeout=20).text)


def memory(site: Process) -> float:
    """The most memory that a process ever had, in MB."""
    status = Path(f"/proc/{site.process.pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc here")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1]) / 1024
