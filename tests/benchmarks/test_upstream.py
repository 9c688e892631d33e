"""The upstream counts right, or nothing that is counted means anything."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.orders import WorkerError, worker
from benchmarks.peers.contract import KEY
from benchmarks.peers.crews import crew
from benchmarks.upstream import upstream

BATCHES: dict[str, Any] = {
    "/v1/experiences/events": {"elements": [{"actions": [1, 2]}, {"actions": [3]}]},
    "/batch/": {"batch": [1, 2, 3]},
    "/v1/batch": {"batch": [1, 2, 3]},
    "/2/httpapi": {"events": [1, 2, 3]},
    "/bulk": [{"kind": "custom"}] * 3 + [{"kind": "index"}],
}


async def test_events_are_counted_in_every_protocol(tmp_path: Path) -> None:
    counted: dict[str, list[int]] = {}

    async with upstream(tmp_path) as server, _browser(server.url) as browser:
        for path, batch in BATCHES.items():
            plain = json.dumps(batch).encode()
            await server.behave()
            await browser.post(path, content=plain)
            once, _ = await server.events()
            packed = {"content-encoding": "gzip"}
            await browser.post(path, content=gzip.compress(plain), headers=packed)
            twice, _ = await server.events()
            counted[path] = [once, twice]

    assert counted == {path: [3, 6] for path in BATCHES}


async def test_the_last_event_is_timed_by_the_clock_of_all_processes(
    tmp_path: Path,
) -> None:
    async with upstream(tmp_path) as server, _browser(server.url) as browser:
        before = time.monotonic()
        await browser.post("/batch/", json=BATCHES["/batch/"])
        _, last_at = await server.events()

    assert before <= last_at <= time.monotonic()


async def test_only_calls_for_variations_are_counted_and_only_since_the_start(
    tmp_path: Path,
) -> None:
    async with upstream(tmp_path) as server, _browser(server.url) as browser:
        await browser.post("/flags/?v=4", json={})
        await server.behave()
        fetched = await browser.post("/v1/experiences/fetch", json={})
        await browser.post("/sdk/v2/vardata", json={})
        await browser.get("/v1/experiences/metadata")
        missing = await browser.get("/nothing")
        counted = await server.calls()

    assert KEY in fetched.json()["experiences"]
    assert missing.status_code == 404
    assert counted == 2


async def test_what_a_broken_upstream_refused_has_not_arrived(tmp_path: Path) -> None:
    async with upstream(tmp_path) as server, _browser(server.url) as browser:
        await server.behave(status=503)
        answer = await browser.post("/batch/", json=BATCHES["/batch/"])
        arrived, _ = await server.events()

    assert (answer.status_code, arrived) == (503, 0)


async def test_a_silent_upstream_never_answers(tmp_path: Path) -> None:
    async with upstream(tmp_path) as server, _browser(server.url) as browser:
        await server.behave(silent=True)
        asking = asyncio.ensure_future(browser.post("/flags/", json={}))
        while not await server.calls():
            await asyncio.sleep(0.01)
        done = asking.done()
        asking.cancel()

    assert not done


async def test_a_worker_that_cannot_do_something_says_so_and_goes_on(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "benchmarks.upstream"]

    async with worker("upstream", command, tmp_path) as server:
        with pytest.raises(WorkerError, match=r"upstream: KeyError: 'dance'"):
            await server.ask("dance")

        assert await server.ask("tell")


async def test_a_worker_that_ends_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no upstream today')"]

    with pytest.raises(WorkerError, match="no upstream today"):
        async with worker("upstream", command, tmp_path):
            pytest.fail("it cannot have started")


async def test_a_rival_that_is_not_installed_is_left_out(tmp_path: Path) -> None:
    async with crew(
        tmp_path, ["sockets", "segment"], at_home=["sockets", "segment"]
    ) as (together):
        present = list(together.workers)

    assert present == ["sockets"]
    assert "left out: segment: ModuleNotFoundError" in str(together.missing[0])


def _browser(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False)
