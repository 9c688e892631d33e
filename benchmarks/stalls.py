"""How long the event loop stands still while the upstream takes its time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from .effort import FULL, Effort
from .orders import Worker
from .peers.crews import OURS, crew
from .ratios import NO_GOAL, Figure, Measure, Row, measure_in_turns, spread

SLOW = 0.3
"""How long the upstream takes, in seconds."""

ROUNDS = 9
IDLE = "idle"
"""Who only sleeps: what the machine itself does to an event loop."""

RIVALS = ("posthog", "posthog/async", "growthbook", "flagsmith", "amplitude")
GOAL = "<= 5 ms"


async def stalls(
    directory: Path, effort: Effort = FULL, rivals: tuple[str, ...] = RIVALS
) -> AsyncIterator[Row]:
    """Let everyone serve a first visit from an async handler."""
    async with crew(directory, [OURS, IDLE, *rivals], at_home=[IDLE]) as together:
        for note in together.missing:
            yield note
        await together.upstream.behave(delay=SLOW)
        figures = await measure_in_turns(
            {name: _stalling(worker) for name, worker in together.workers.items()},
            effort.rounds_of(ROUNDS),
        )
    # How late one gets depends on the machine, too; the idle loop says how much.
    for name, values in figures.items():
        yield Figure(
            what=f"event loop late, upstream takes {SLOW * 1000:.0f} ms: {name}",
            text=spread(values, "ms"),
            goal=GOAL if name == OURS else NO_GOAL,
            value=median(values),
        )


def _stalling(worker: Worker) -> Measure:
    visitors = itertools.count()

    async def measure() -> float:
        answer = await worker.ask("stall", user=f"stalled-{next(visitors)}")
        seconds: float = answer["seconds"]
        return seconds * 1e3

    return measure
