"""Four real worker processes of one site, and the Redis that they share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ..redis_servers import RedisServer, redis_server
from ..servers import Process, browser, free_port, sandbox_server, site_server, wait_for

WORKERS = 4

CONFIG = """
workspace: {id: sandbox, api_key: sandbox-key}
identity: {customer_id: {cookie: customer_id}}
routes:
  - {path: "/{page:path}", experiences: [homepage-banner]}
fetch: {timeout: 5}
metadata: {interval: 0}
events: {outbox: "memory:", relay: off}
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@contextmanager
def workers(folder: Path, sandbox: Process, config: str) -> Iterator[Process]:
    (folder / "moe.yml").write_text(CONFIG + config)
    with site_server(
        *(folder, sandbox.url),
        *("-m", "uvicorn", "tests.end_to_end.site:app", "--port", "{port}"),
        *("--workers", str(WORKERS), "--no-access-log"),
    ) as site:
        wait_for(lambda: site.log().count("startup complete") == WORKERS, what="all")
        yield site


def fetches(sandbox: Process) -> int:
    """Return how many calls the sandbox has seen; in these tests all are fetches."""
    newest = browser.get(f"{sandbox.url}/_sandbox/requests?limit=1").json()
    return int(newest["requests"][0]["number"])


def visit(site: Process, customer_id: str) -> None:
    # A connection of its own each time, so that any worker may get it.
    with closing(HTTPConnection("127.0.0.1", site.port, timeout=20)) as connection:
        connection.request("GET", "/", headers={"cookie": f"customer_id={customer_id}"})
        assert connection.getresponse().status == 200


def test_a_first_visit_to_all_workers_at_once_costs_one_call(
    tmp_path: Path, redis: RedisServer
) -> None:
    config = f"cache: {{redis: '{redis.url}', redis_timeout: 2}}"
    with sandbox_server(free_port(), tmp_path) as sandbox:
        fault = {"path": "fetch", "latency": 0.5, "times": None}
        browser.post(f"{sandbox.url}/_sandbox/faults", json=fault)
        with workers(tmp_path, sandbox, config) as site:
            with ThreadPoolExecutor(16) as visitors:
                list(visitors.map(visit, [site] * 16, ["alice"] * 16))
            made = fetches(sandbox)

    assert made == 1
