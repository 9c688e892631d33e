"""The benchmarks work: every part once, with next to no rounds, and no rivals.

What they measure is no test: a loaded machine would break it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from benchmarks.calls import calls
from benchmarks.delivery import delivery
from benchmarks.doors import doors
from benchmarks.effort import Effort
from benchmarks.fetches import LIMIT, fetches
from benchmarks.growth import growth
from benchmarks.in_process import in_process
from benchmarks.lookups import lookups
from benchmarks.orders import REPOSITORY
from benchmarks.quota import quota
from benchmarks.ratios import Comparison, Note, Row
from benchmarks.recording import recording
from benchmarks.scripts_browser import chromium_path, scripts_browser
from benchmarks.scripts_pages import scripts_pages
from benchmarks.scripts_site import FEATURES
from benchmarks.stalls import stalls

QUICK = Effort(rounds=1, quick=True)
PARTS: dict[str, Callable[[Path], AsyncIterator[Row]]] = {
    "in_process": lambda folder: in_process(folder, QUICK),
    "fetches": lambda folder: fetches(folder, QUICK, {LIMIT: "bare sockets"}),
    "stalls": lambda folder: stalls(folder, QUICK, ()),
    "doors": lambda folder: doors(folder, QUICK),
    "quota": lambda folder: quota(folder, QUICK),
    "lookups": lambda folder: lookups(folder, QUICK),
    "recording": lambda folder: recording(folder, QUICK, ()),
    "delivery": lambda folder: delivery(folder, QUICK, ()),
    "growth": lambda folder: growth(folder, QUICK),
}


@pytest.mark.parametrize("name", PARTS)
async def test_every_part_measures_something(name: str, tmp_path: Path) -> None:
    rows = [row async for row in PARTS[name](tmp_path)]

    assert rows
    assert not any(isinstance(row, Note) for row in rows)


async def test_one_user_costs_one_call(tmp_path: Path) -> None:
    rows = [row async for row in calls(tmp_path, QUICK, ())]

    assert [row.verdict for row in rows] == ["met", "met"]


async def test_every_feature_of_a_page_has_its_bytes_and_its_cost(
    tmp_path: Path,
) -> None:
    rows = [row async for row in scripts_pages(tmp_path, QUICK)]

    by_name = {row.what: row for row in rows if not isinstance(row, Note)}
    for feature in FEATURES.values():
        size, cost = (
            next(row for what, row in by_name.items() if what.startswith(begin))
            for begin in (f"with {feature}: ", f"  with {feature}: ")
        )
        assert isinstance(size, Comparison) and isinstance(cost, Comparison)
        assert size.ratios[0] > 1 and cost.unit == "us CPU"
    assert {"a click link followed", "a beacon with 50 signals"} <= by_name.keys()
    assert by_name["the script that counts, as it is served"].verdict == "met"


async def test_a_browser_tells_what_the_script_costs_its_page(tmp_path: Path) -> None:
    rows = [row async for row in scripts_browser(tmp_path, QUICK)]

    if chromium_path() is None:
        assert [str(row) for row in rows] == [
            "  (left out: no Chromium is on the PATH)"
        ]
        return
    measured = [row.what for row in rows if not isinstance(row, Note)]
    for name in (
        "DOMContentLoaded, cold",
        "main thread at work, warm",
        "JS heap, cold",
    ):
        assert name in measured
    assert {"one click, main thread at work", "  the script's part"} <= {*measured}


def test_the_command_prints_one_part_and_its_verdicts() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "lookups"]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "P7: the route table" in done.stdout
    assert re.search(r"goals met: \d, not met: \d", done.stdout)
    assert "written to" not in done.stdout
