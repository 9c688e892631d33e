"""Verdicts, rounds in turns, and the dated file."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.goals import MET, NOT_MET, figure_verdict, ratio_verdict
from benchmarks.machine import machine
from benchmarks.processes import REPOSITORY
from benchmarks.ratios import Comparison, Figure, Measure, Note, measure_in_turns
from benchmarks.results import Section, save, summary

SLOWER = Comparison(what="slow", unit="us", ours=[3.0], rival=[2.0], goal="<= 1.05")
FASTER = Comparison(what="fast", unit="us", ours=[1.0], rival=[2.0], goal="<= 1.05")


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        ("<= 5 ms", 5.0, MET),
        ("<= 5 ms", 5.1, NOT_MET),
        (">= 100,000/s", 100_000.0, MET),
        (">= 100,000/s", 99_999.0, NOT_MET),
        ("1 call", 1.0, MET),
        ("1 call", 2.0, NOT_MET),
        ("<= 5 ms", None, ""),
        ("(none)", 1.0, ""),
        ("flat", 1.0, ""),
    ],
)
def test_a_figure_is_judged_by_its_goal(
    goal: str, value: float | None, verdict: str
) -> None:
    assert figure_verdict(goal, value) == verdict


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        ("<= 1.5", MET),
        ("<= 1.4", NOT_MET),
        (">= 1.5", MET),
        ("<= 10 us more", MET),
        ("<= 9 us more", NOT_MET),
        ("(none)", ""),
    ],
)
def test_a_ratio_is_judged_by_its_median(goal: str, verdict: str) -> None:
    ours, rival = [30.0, 30.0, 900.0], [20.0, 20.0, 10.0]

    assert ratio_verdict(goal, ours, rival) == verdict


async def test_everyone_is_measured_in_every_round_after_a_warm_up() -> None:
    order: list[str] = []

    def measuring(name: str) -> Measure:
        async def measure() -> float:
            order.append(name)
            return float(len(order))

        return measure

    figures = await measure_in_turns({"a": measuring("a"), "b": measuring("b")}, 2)

    assert "".join(order) == "abbaab"
    assert figures == {"a": [4.0, 5.0], "b": [3.0, 6.0]}


def test_the_summary_names_what_was_missed() -> None:
    sections = [Section("P1: pages", [SLOWER, FASTER, Note(text="words")])]

    assert summary(sections) == [
        "- goals met: 1, not met: 1",
        "- not met: P1: pages: slow, <= 1.05",
    ]


def test_the_dated_file_tells_the_machine_and_every_row(tmp_path: Path) -> None:
    figure = Figure(what="delivery", text="70,000/s", goal=">= 60,000/s", value=7e4)
    facts = list(machine(0.5, {"aiohttp": "3.0"}))

    failure = Note(text=f"FAILED: no file {REPOSITORY}/benchmarks/nothing.py")
    section = Section("P9", [figure, SLOWER, failure])

    path = save(tmp_path / "results", facts, [section], 9.0)

    text = path.read_text()
    assert path.name.startswith("20") and path.suffix == ".md"
    assert f"# Measured on {path.stem}" in text
    assert {"processor", "cores", "Python", "rivals"} <= {name for name, _ in facts}
    assert all(f"- {name}: {fact}" in text for name, fact in facts)
    assert str(figure) in text and str(SLOWER) in text
    assert "goals met: 1, not met: 1" in text
    assert "no file benchmarks/nothing.py" in text and str(REPOSITORY) not in text
