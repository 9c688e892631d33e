"""How many calls reach the upstream when one user comes many times at once."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from .effort import FULL, Effort
from .orders import Worker
from .peers.crews import OURS, crew
from .ratios import NO_GOAL, Figure, Measure, Note, Row, measure_in_turns, spread
from .upstream import Upstream

VISITS = 50
READS = 5
ROUNDS = 3
OVERLAP = 0.05
"""How long the upstream takes, in seconds, so that the visits really overlap."""

RIVALS = ("growthbook", "posthog", "posthog/async", "flagsmith", "amplitude")
SITUATIONS = {
    f"{VISITS} first visits of one user at once": (VISITS, 1),
    f"{READS} reads in one request": (1, READS),
}


async def calls(
    directory: Path, effort: Effort = FULL, rivals: tuple[str, ...] = RIVALS
) -> AsyncIterator[Row]:
    """Count the calls, everyone's in turn."""
    async with crew(directory, [OURS, *rivals]) as together:
        for note in together.missing:
            yield note
        for situation, (visits, reads) in SITUATIONS.items():
            figures = await measure_in_turns(
                {
                    name: _counting(worker, together.upstream, visits, reads)
                    for name, worker in together.workers.items()
                },
                effort.rounds_of(ROUNDS),
                warm_up=False,
            )
            for name, values in figures.items():
                yield Figure(
                    what=f"{situation}: {name}",
                    text=spread(values, "calls"),
                    goal="1 call" if name == OURS else NO_GOAL,
                    value=max(values),
                )
    if rivals:
        yield Note(
            text="only GrowthBook has a read cache; with the others an app may keep "
            "one answer for a request by hand, and then pays 1 call for its reads"
        )


def _counting(worker: Worker, server: Upstream, visits: int, reads: int) -> Measure:
    visitors = itertools.count()

    async def measure() -> float:
        await server.behave(delay=OVERLAP)
        user = f"visitor-{visits}-{next(visitors)}"
        await worker.ask("pages", user=user, visits=visits, reads=reads)
        return await server.calls()

    return measure
