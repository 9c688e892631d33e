"""First visits: how many calls reach the upstream, and how late the event loop gets."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from .effort import Effort
from .peers.crews import OURS, crew
from .processes import Worker
from .ratios import NO_GOAL, Figure, Measure, Note, Row, measure_in_turns, spread
from .upstream import Upstream

VISITS = 50
READS = 5
CALL_ROUNDS = 3
OVERLAP = 0.05
"""How long the upstream takes, in seconds, so that the visits really overlap."""

SLOW = 0.3
"""How long it takes where the event loop is watched, in seconds."""

STALL_ROUNDS = 9
IDLE = "idle"
"""Who only sleeps: what the machine itself does to an event loop."""

RIVALS = ("growthbook", "posthog", "posthog/async", "flagsmith", "amplitude")
SITUATIONS = {
    f"{VISITS} first visits of one user at once": (VISITS, 1),
    f"{READS} reads in one request": (1, READS),
}


async def calls(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Count the calls of one user who comes many times at once, everyone's in turn."""
    with crew(directory, effort, [OURS, *RIVALS]) as together:
        for note in together.missing:
            yield note
        for situation, (visits, reads) in SITUATIONS.items():
            figures = await measure_in_turns(
                {
                    name: _counting(worker, together.upstream, visits, reads)
                    for name, worker in together.workers.items()
                },
                effort.rounds_of(CALL_ROUNDS),
                warm_up=False,
            )
            for name, values in figures.items():
                yield Figure(
                    what=f"{situation}: {name}",
                    text=spread(values, "calls"),
                    goal="1 call" if name == OURS else NO_GOAL,
                    value=max(values),
                )
    if len(together.workers) > 1:
        yield Note(
            text="only GrowthBook has a read cache; with the others an app may keep "
            "one answer for a request by hand, and then pays 1 call for its reads"
        )


def _counting(worker: Worker, server: Upstream, visits: int, reads: int) -> Measure:
    visitors = itertools.count()

    async def measure() -> float:
        server.behave(delay=OVERLAP)
        user = f"visitor-{visits}-{next(visitors)}"
        worker.ask("pages", user=user, visits=visits, reads=reads)
        return server.calls()

    return measure


async def stalls(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Let everyone serve a first visit from an async handler; the upstream is slow."""
    with crew(directory, effort, [OURS, IDLE, *RIVALS], at_home=[IDLE]) as together:
        for note in together.missing:
            yield note
        together.upstream.behave(delay=SLOW)
        figures = await measure_in_turns(
            {name: _stalling(worker) for name, worker in together.workers.items()},
            effort.rounds_of(STALL_ROUNDS),
        )
    # How late one gets depends on the machine, too; the idle loop says how much.
    for name, values in figures.items():
        yield Figure(
            what=f"event loop late, upstream takes {SLOW * 1000:.0f} ms: {name}",
            text=spread(values, "ms"),
            goal="<= 5 ms" if name == OURS else NO_GOAL,
            value=median(values),
        )


def _stalling(worker: Worker) -> Measure:
    visitors = itertools.count()

    async def measure() -> float:
        answer = worker.ask("stall", user=f"stalled-{next(visitors)}")
        return float(answer["seconds"]) * 1e3

    return measure
