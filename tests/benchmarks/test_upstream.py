"""The upstream counts right, or nothing that is counted means anything."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.effort import Effort
from benchmarks.peers.contract import KEY
from benchmarks.peers.crews import crew
from benchmarks.processes import ProcessError, worker
from benchmarks.upstream import Trouble, Upstream, upstream

from ..servers import browser

BATCHES: dict[str, Any] = {
    "/v1/experiences/events": {"elements": [{"actions": [{}, {}]}, {"actions": [{}]}]},
    "/batch/": {"batch": [{"distinct_id": "posthog", "uuid": n} for n in "123"]},
    "/v1/batch": {"batch": [{"userId": "segment", "messageId": n} for n in "456"]},
    "/2/httpapi": {"events": [{"user_id": "amplitude", "insert_id": n} for n in "789"]},
    "/v1/events": {"events": [{"identifier": "flagsmith"}] * 3},
    "/bulk": [
        *[{"kind": "custom", "context": {"key": "launchdarkly"}}] * 3,
        {"kind": "index"},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with upstream(tmp_path_factory.mktemp("upstream")) as server:
        yield server


def test_events_are_counted_in_every_protocol(server: Upstream) -> None:
    counted: dict[str, list[int]] = {}

    for path, batch in BATCHES.items():
        plain = json.dumps(batch).encode()
        server.behave()
        browser.post(f"{server.url}{path}", content=plain)
        once, _ = server.events()
        packed = {"content-encoding": "gzip"}
        content = gzip.compress(plain)
        browser.post(f"{server.url}{path}", content=content, headers=packed)
        twice, _ = server.events()
        counted[path] = [once, twice]

    assert counted == {path: [3, 6] for path in BATCHES}


def test_the_last_event_is_timed_by_the_clock_of_all_processes(
    server: Upstream,
) -> None:
    before = time.monotonic()
    browser.post(f"{server.url}/batch/", json=BATCHES["/batch/"])
    _, last_at = server.events()

    assert before <= last_at <= time.monotonic()


def test_only_calls_for_variations_are_counted_and_only_since_the_start(
    server: Upstream,
) -> None:
    browser.post(f"{server.url}/flags/?v=4", json={})
    server.behave()
    fetched = browser.post(f"{server.url}/v1/experiences/fetch", json={})
    browser.post(f"{server.url}/sdk/v2/vardata", json={})
    browser.get(f"{server.url}/v1/experiences/metadata")
    missing = browser.get(f"{server.url}/nothing")

    assert KEY in fetched.json()["experiences"]
    assert missing.status_code == 404
    assert server.calls() == 2


@pytest.mark.parametrize("trouble", ["status 503", "cut", "hang"])
def test_what_a_broken_upstream_refused_has_not_arrived(
    server: Upstream, trouble: Trouble
) -> None:
    server.behave()
    server.fail(trouble)
    try:
        answer = browser.post(
            f"{server.url}/batch/", json=BATCHES["/batch/"], timeout=0.5
        )
        assert answer.status_code == 503
    except httpx.TransportError as error:
        silent = isinstance(error, httpx.ReadTimeout)
        assert silent == (trouble == "hang") and trouble != "status 503"
    finally:
        server.fail("none")

    assert server.events()[0] == 0


def test_an_event_that_is_sent_again_is_kept_once_if_it_has_an_id(
    tmp_path: Path,
) -> None:
    headers = {"x-launchdarkly-payload-id": "payload"}

    with upstream(tmp_path, keeps=True) as server:
        for path in [*BATCHES][1:]:
            sent = {"json": BATCHES[path], "headers": headers if "bulk" in path else {}}
            server.lose_answer()
            with pytest.raises(httpx.RemoteProtocolError):
                browser.post(f"{server.url}{path}", **sent)
            browser.post(f"{server.url}{path}", **sent)
        stored = server.stored()

    once = dict.fromkeys(("posthog", "segment", "amplitude", "launchdarkly"), 3)
    assert stored == {**once, "flagsmith": 6}


def test_a_worker_that_cannot_do_something_says_so_and_goes_on(
    tmp_path: Path,
) -> None:
    with worker("upstream", "benchmarks.upstream", folder=tmp_path) as process:
        with pytest.raises(ProcessError, match=r"upstream: KeyError: 'dance'"):
            process.ask("dance")

        assert process.ask("tell")


def test_a_worker_that_ends_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessError, match=r"No module named benchmarks\.nothing"),
        worker("nothing", "benchmarks.nothing", folder=tmp_path),
    ):
        pytest.fail("it cannot have started")


def test_a_rival_that_is_not_installed_is_left_out(tmp_path: Path) -> None:
    names = ["clients/sockets", "segment"]
    with crew(tmp_path, Effort(), names, at_home=names) as together:
        present = list(together.workers)

    assert present == ["clients/sockets"]
    assert "left out: segment: ModuleNotFoundError" in str(together.missing[0])
