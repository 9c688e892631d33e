"""The sandbox's report of a session of 130 visitors is what their script counts.

Two workers serve them. MoEngage answers badly or not at all for a while, and one of the
workers ends and is replaced.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.losses.places import Place
from moe_middleware import Action

from ..servers import Process, browser, free_port, running, wait_for
from .session_counts import (
    Counted,
    Variation,
    cells_of_report,
    cells_of_script,
    cells_of_table,
    differences,
)
from .session_script import Visitor, visitor
from .session_shop import CONFIG, SECRET, WORKSPACE

AT_ONCE = 4
"""Visitors on the site at the same time."""

WORKERS = 2


@contextmanager
def shop(place: Place) -> Iterator[Process]:
    """Serve the shop until the block ends, and all workers have ended with it."""
    port = free_port()
    with running(
        *("-m", "uvicorn", "--factory", "tests.end_to_end.session_shop:configured"),
        *("--port", str(port), "--workers", str(WORKERS), "--no-access-log"),
        # Longer than the visitors keep their connections: none is cut in use.
        *("--timeout-keep-alive", "60"),
        port=port,
        log=place.folder / "site.log",
        environ=place.environ,
    ) as site:
        wait_until_started(site, WORKERS)
        yield site


def wait_until_started(site: Process, workers: int) -> None:
    wait_for(
        lambda: site.log().count("startup complete") == workers,
        what=f"{workers} workers to start",
    )


def restart_a_worker(site: Process) -> None:
    """End one of the workers as a deploy does, and wait for the one in its place."""
    pid = re.findall(r"Started server process \[(\d+)\]", site.log())[0]
    os.kill(int(pid), signal.SIGTERM)
    wait_for(lambda: f"Finished server process [{pid}]" in site.log(), what="its end")
    wait_until_started(site, WORKERS + 1)


def play(numbers: Iterable[int], site: Process) -> list[Visitor]:
    """Let these visitors come, some at a time; return them when all are gone."""
    with httpx.HTTPTransport() as transport:
        visitors = [visitor(number, site.url, transport) for number in numbers]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(Visitor.play, visitors))
    return visitors


def faults_left(place: Place) -> dict[str, int | None]:
    """How many calls of each endpoint the sandbox will still get wrong."""
    faults = browser.get(f"{place.url}/_sandbox/faults").json()["faults"]
    return {fault["path"]: fault["times"] for fault in faults}


def play_all(place: Place) -> list[Visitor]:
    with shop(place) as site:
        visitors = play(range(40), site)

        place.fault(path="events", lose_response=True, times=3)
        place.fault(path="fetch", status=503, rate=0.15, times=40)
        visitors += play(range(40, 75), site)
        wait_for(lambda: "events" not in faults_left(place), what="lost responses")

        place.fault(path="events", status=503, times=100_000)
        visitors += play(range(75, 90), site)
        restart_a_worker(site)
        visitors += play(range(90, 105), site)
        assert (faults_left(place)["events"] or 0) < 100_000
        place.no_more_faults()

        visitors += play(range(105, 130), site)
    place.deliver()
    return visitors


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    outbox = f"sqlite:///{place.outbox}"
    config = CONFIG.format(api=place.url, outbox=outbox, secret=SECRET)
    (tmp_path / "moe.yml").write_text(config)
    (tmp_path / "workspace.yml").write_text(WORKSPACE)
    return place


def report_of(place: Place) -> dict[str, Any]:
    report: dict[str, Any] = browser.get(f"{place.url}/_sandbox/report").json()
    return report


NOT_COUNTED = {
    *("page left", "page status", "page web_sdk", "link again", "link somebody else"),
    *("beacon again", "beacon somebody else", "sight again", "sight somebody else"),
}
"""What the visitors do that must not count, each of it several times."""


@pytest.mark.skipif(
    int(version("uvicorn").split(".")[1]) < 40 and version("uvicorn").startswith("0."),
    reason="older uvicorns replace no worker that has ended",
)
def test_the_report_of_130_visitors_is_what_their_script_counts(place: Place) -> None:
    with place.sandbox():
        visitors = play_all(place)
        report = report_of(place)
        table = browser.get(f"{place.url}/_sandbox/report.csv").text

    counted = [one for visitor in visitors for one in visitor.counted]
    script = cells_of_script(counted)
    spared = sum((visitor.spared for visitor in visitors), Counter[str]())
    print(f"{len(counted)} counted in {len(script)} cells; spared: {dict(spared)}")

    assert spared.keys() == NOT_COUNTED
    assert min(spared.values()) >= 5 and len(counted) > 800
    assert not (wrong := differences(script, cells_of_report(report))), "\n".join(wrong)
    assert report["unknown"] is None and report["misdated"] == 0
    buckets = report["over_time"]
    assert sum(one["impressions"] for one in buckets) == report["impressions"]
    assert sum(one["clicks"] for one in buckets) == report["clicks"]
    listed = {cell: count for cell, count in script.items() if len(cell) > 1}
    assert not (wrong := differences(listed, cells_of_table(table))), "\n".join(wrong)
    assert "waiting=0 dead=0" in place.relay_log()


def test_a_difference_is_reported_by_its_cell_and_its_size() -> None:
    """The control of the test above: one that could not fail would prove nothing."""
    variation = Variation("homepage-banner", "1A", "2")
    click = Counted(
        action=Action.CLICK, variation=variation, customer_id="ada", b_id="Buy"
    )
    seen = replace(click, action=Action.IMPRESSION, b_id=None)
    script = cells_of_script([seen, click])
    at = "homepage-banner / 1A / 2"

    assert script[(*variation, "converted")] == 1
    assert differences(script, script) == []
    twice = differences(script, cells_of_script([seen, click, click]))
    assert f"{at}: clicks of 'Buy': the script counts 1, the report 2 (+1)" in twice
    unnamed = differences(script, cells_of_script([seen, replace(click, b_id=None)]))
    assert unnamed == [f"{at}: clicks of 'Buy': the script counts 1, the report 0 (-1)"]
    missing = differences(script, cells_of_script([seen]))
    assert "everything: clicks: the script counts 1, the report 0 (-1)" in missing
    somebody = cells_of_script([seen, replace(click, customer_id="bob")])
    assert differences(script, somebody) == [
        f"{at}: converted: the script counts 1, the report 0 (-1)"
    ]
