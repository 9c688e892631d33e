"""What recording one impression costs the request's thread, its id included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

from .effort import FULL, Effort
from .orders import Worker
from .peers.crews import crew
from .ratios import (
    NO_GOAL,
    Comparison,
    Figure,
    Measure,
    Note,
    Row,
    measure_in_turns,
    spread,
)

EVENTS = 5_000
ROUNDS = 5
OURS = "ours/events"
RIVALS = ("segment", "posthog", "amplitude", "launchdarkly")
GOALS = {"segment": "<= 0.1"}


async def recording(
    directory: Path, effort: Effort = FULL, rivals: tuple[str, ...] = RIVALS
) -> AsyncIterator[Row]:
    """Compare the thread's CPU time, and the time that it takes by the clock."""
    walls: defaultdict[str, list[float]] = defaultdict(list)
    async with crew(directory, [OURS, *rivals]) as together:
        for note in together.missing:
            yield note
        figures = await measure_in_turns(
            {
                name: _recording(worker, effort.amount(EVENTS), walls[name])
                for name, worker in together.workers.items()
            },
            effort.rounds_of(ROUNDS),
        )
    yield Figure(
        what="recording one impression",
        text=spread(figures[OURS], "us CPU"),
        goal=NO_GOAL,
    )
    for name in figures:
        if name == OURS:
            continue
        yield Comparison(
            what=f"  beside {name}",
            unit="us CPU",
            ours=figures[OURS],
            rival=figures[name],
            goal=GOALS.get(name, NO_GOAL),
        )
        # The first round only warmed up.
        yield Comparison(
            what="    the same by the clock, other threads included",
            unit="us",
            ours=walls[OURS][1:],
            rival=walls[name][1:],
            goal=NO_GOAL,
        )
    if rivals:
        yield Note(
            text="the rivals keep events in memory only; LaunchDarkly's have no id"
        )


def _recording(worker: Worker, count: int, walls: list[float]) -> Measure:
    async def measure() -> float:
        answer = await worker.ask("record", count=count)
        walls.append(answer["wall_seconds"] * 1e6)
        seconds: float = answer["seconds"]
        return seconds * 1e6

    return measure
