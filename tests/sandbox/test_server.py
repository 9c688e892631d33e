"""The real server, in a process of its own, over real sockets."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Workspace, sample_workspace, serve
from moe_middleware.sandbox.memory.stores import Store
from moe_middleware.sandbox.server import start_text

from ..rows import each
from .calls import HEADERS, action

SERVE = "from moe_middleware.sandbox import serve; serve({})"


@pytest.fixture(scope="module")
def started() -> Iterator[str]:
    """The server's start text; the server runs until the module is done."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE.format("port=0")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "/v1/experiences/fetch" in line:
            break
    yield "".join(lines)
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def client(started: str) -> Iterator[httpx.Client]:
    found = re.search(r"http://127\.0\.0\.1:\d+", started)
    assert found is not None
    with httpx.Client(base_url=found[0], headers=HEADERS) as client:
        client.post("/_sandbox/reset")
        yield client


def test_server_speaks_the_three_endpoints(client: httpx.Client) -> None:
    body = {"identifiers": {"customer_id": "alice"}, "experience_key": ["price-badge"]}

    fetched = client.post("/v1/experiences/fetch", json=body)
    listed = client.get("/v1/experiences/metadata?status=Active")
    reported = client.post("/v1/experiences/events", json=action())

    assert list(fetched.json()["experiences"]) == ["price-badge"]
    assert fetched.headers["x-ratelimit-limit"] == "10000"
    assert listed.json()["metadata"]["count"] == 4
    assert reported.json()["status"] == "success"
    assert client.get("/_sandbox/events").json()["count"] == 1


def test_dropped_connection_ends_without_a_byte(client: httpx.Client) -> None:
    client.post("/_sandbox/faults", json={"path": "fetch", "drop": True})
    address = (client.base_url.host, client.base_url.port or 0)
    request = (
        b"POST /v1/experiences/fetch HTTP/1.1\r\nHost: sandbox\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )

    with socket.create_connection(address, timeout=40) as connection:
        connection.sendall(request)
        try:
            received = connection.recv(1000)
        except ConnectionResetError:
            received = b""

    assert received == b""
    assert client.post("/v1/experiences/fetch", json={}).status_code == 200


def test_oversized_body_is_answered_and_the_connection_lives_on(
    client: httpx.Client,
) -> None:
    body = b'{"padding": "' + b"x" * 10_000_000 + b'"}'

    refused = client.post("/v1/experiences/fetch", content=body)

    assert refused.status_code == 413
    assert client.post("/v1/experiences/fetch", json={}).status_code == 200


def test_start_text_names_all_that_a_call_needs(
    started: str, client: httpx.Client
) -> None:
    for needed in ("sandbox-key", "homepage-banner", "Paused", "alice", "tier gold"):
        assert needed in started
    found = re.search(r"pages +(\S+)", started)
    assert found is not None
    page = client.get(found[1], headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def test_start_text_lines_up_and_does_without_customers_and_experiences() -> None:
    lines = start_text(sample_workspace(), "http://x").splitlines()
    rows = lines[lines.index("Experiences") + 1 : lines.index("Customers") - 1]
    bare = Workspace(name="Bare", workspace_id="it's", api_keys=("a", "b"))

    assert len(rows) == len(sample_workspace().experiences)
    assert len({re.match(r" +\S+ +\S+ +", row).end() for row in rows if row}) == 1  # type: ignore[union-attr]
    # The command is the one that the pages show.
    curl = "  curl -u 'it'\"'\"'s:a' \\"
    assert curl in start_text(bare, "http://x").splitlines()
    assert start_text(bare, "http://x").count("api key") == 2


@each(
    ("given", "address"),
    [
        ({}, "http://127.0.0.1:{port}"),
        ({"port": 70_000}, "http://127.0.0.1:70000"),
        ({"host": "::2"}, "http://[::2]:8787"),
    ],
)
def test_address_that_is_taken_or_impossible_is_one_clear_line(
    given: dict[str, Any], address: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        reason = why_it_ends(**(given or {"port": port}))

    assert "\n" not in reason
    assert f"cannot listen at {address.format(port=port)}: " in reason
    assert "--port" in reason
    assert "(" not in reason


def test_stop_is_clean_and_the_file_complete(tmp_path: Path) -> None:
    file = tmp_path / "counted.db"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE.format(f"port=0, db={str(file)!r}")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = next(line.split()[-1] for line in process.stdout if "base url" in line)
    # A browser that is still connected must not hold up the stop.
    with httpx.stream("GET", f"{address[:-3]}/events", timeout=40):
        httpx.post(f"{address}/experiences/events", json=action(), headers=HEADERS)
        process.terminate()
        _, errors = process.communicate(timeout=40)

    assert (process.returncode, errors) == (0, "")
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    store = Store(str(file))
    assert store.count() == 1
    store.close()


def test_drip_comes_slowly_over_the_wire(client: httpx.Client) -> None:
    # Of a few, one at least is not held up by the machine.
    for _ in range(10):
        client.post("/_sandbox/faults", json={"path": "metadata", "drip": 2000})
        started = time.perf_counter()
        with client.stream("GET", "/v1/experiences/metadata") as response:
            began = time.perf_counter() - started
            pieces = [len(piece) for piece in response.iter_raw()]
        took = time.perf_counter() - started
        if max(pieces) <= 200 and began < sum(pieces) / 2000 - 0.1:
            break

    assert sum(pieces) == int(response.headers["content-length"])
    assert max(pieces) <= 200
    assert took > sum(pieces) / 2000 - 0.1 > began


def test_missing_uvicorn_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "moe_middleware.sandbox.uvicorn", raising=False)

    assert "pip install 'moe_middleware[sandbox]'" in why_it_ends(port=0)


def why_it_ends(**given: Any) -> str:
    """Return the line with which a program ends that cannot serve."""
    log = logging.getLogger("moe_middleware.sandbox")
    level = log.level
    try:
        with pytest.raises(SystemExit) as caught:
            serve(**given)
    finally:
        log.setLevel(level)
    return str(caught.value.code)
