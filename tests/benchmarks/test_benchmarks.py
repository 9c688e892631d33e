"""The benchmarks work: every part once, with next to no rounds, and no rivals.

What they measure is no test: a loaded machine would break it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS, main
from benchmarks.effort import Effort
from benchmarks.ratios import Comparison, Note
from benchmarks.scripts_browser import chromium_path, scripts_browser
from benchmarks.scripts_pages import scripts_pages
from benchmarks.scripts_site import FEATURES

QUICK = Effort(rounds=1, quick=True, alone=True)
MEASURED = (
    *("in_process", "fetches", "stalls", "doors", "quota", "recording"),
    *("delivery", "growth"),
)
"""The others take longer, or need what a machine may lack."""


@pytest.mark.parametrize("name", MEASURED)
async def test_every_part_measures_something(name: str, tmp_path: Path) -> None:
    rows = [row async for row in PARTS[name].rows(tmp_path, QUICK)]

    assert rows
    assert not any(isinstance(row, Note) for row in rows)


async def test_one_user_costs_one_call(tmp_path: Path) -> None:
    rows = [row async for row in PARTS["calls"].rows(tmp_path, QUICK)]

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


async def test_the_command_prints_one_part_and_its_verdicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = await main(["lookups"], QUICK, None)

    printed = capsys.readouterr().out
    assert failed == 0
    assert "P7: the route table" in printed
    assert re.search(r"goals met: \d, not met: \d", printed)
    assert "written to" not in printed
