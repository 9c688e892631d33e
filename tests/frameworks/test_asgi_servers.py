"""The servers that people run, each started for real: pages equal impressions."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from moe_middleware.browser.overlay_access import OverlayLinks

from ..servers import (
    Process,
    counted,
    free_port,
    sandbox_server,
    site_server,
    wait_for,
)

PAGES = 40
SECRET = "a secret key of the servers' tests"
LISTENS = "127.0.0.1"
APP = "tests.end_to_end.site:app"

CONFIG = f"""
workspace: {{id: sandbox, api_key: sandbox-key}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes:
  - {{path: "/{{page:path}}", experiences: [homepage-banner]}}
fetch: {{timeout: 5}}
metadata: {{interval: 0}}
development: {{overlay: link}}
secret_key: {SECRET}
# Nothing is delivered before the end.
events: {{outbox: "memory:", interval: 3600, shutdown_timeout: 20}}
"""


SERVERS = {
    "uvicorn": (f"uvicorn {APP} --port {{port}} --no-access-log", [1]),
    "hypercorn": (
        f"hypercorn {APP} --bind {LISTENS}:{{port}} --graceful-timeout 1",
        [1, 2],
    ),
    "granian": (f"granian --interface asgi --port {{port}} {APP}", [1, 2]),
    "daphne": (f"daphne --port {{port}} --verbosity 0 {APP}", [1]),
}
"""The command of each server, and its versions of HTTP."""

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
    server, versions = SERVERS[name]
    (tmp_path / "moe.yml").write_text(CONFIG)
    before = len(counted(sandbox))
    expected = before + PAGES * len(versions)
    with site_server(tmp_path, sandbox.url, "-m", *server.split()) as site:
        port = site.port
        pages, late = set(), 0
        for version in versions:
            with visitor(port, version) as browser:
                pages |= {browser.get("/").text for _ in range(PAGES - 2)}
                hasty = len(browser.get("/hasty?listens=1").content)
                browser.cookies.set("moe_overlay", overlay_token())
                overlaid = browser.get("/", headers={"accept-encoding": "gzip"})
            leave_early(port, version)
            assert hasty > 1_000_000
            assert "<moe-overlay" in overlaid.text
            assert overlaid.text.endswith("defer></script>")
        if name in PYTHONS:
            for path in ("/hasty", "/hasty?listens=1"):
                late += sum(reset(port, path) for _ in range(RESETS))
        undelivered = len(counted(sandbox))
        site.stop()
        wait_for(lambda: len(counted(sandbox)) >= expected, what="the events")

    assert len(pages) == 1
    assert re.fullmatch("<h1>(?!Welcome).+</h1>", pages.pop())
    assert undelivered == before
    assert expected <= len(counted(sandbox)) <= expected + late


def overlay_token() -> str:
    """Return the cookie that makes pages longer by the overlay."""
    links = OverlayLinks([SECRET], path="", clock=time.time)
    return links.make("/", int(time.time()) + 600)


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


def reset(port: int, path: str) -> bool:
    """Ask for a page and cut the connection, as one who closes a tab does.

    Return whether the page had begun to arrive: on a busy machine the server may be
    faster, and a page that was sent as a whole counts.
    """
    with socket.create_connection((LISTENS, port)) as connection:
        now = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        connection.setblocking(False)
        head = f"GET {path} HTTP/1.1\r\nHost: shop\r\nCookie: customer_id=alice\r\n\r\n"
        connection.send(head.encode())
        try:
            return bool(connection.recv(1))
        except BlockingIOError:
            return False
