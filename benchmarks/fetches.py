"""One fetch's CPU time: our client beside httpx, aiohttp, and a bare socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from .effort import Effort
from .peers.crews import crew
from .processes import Worker
from .ratios import NO_GOAL, Comparison, Measure, Row, measure_in_turns

FETCHES = 640
ROUNDS = 5
OURS = "ours/client"
STOCK = "clients/httpx"
AIOHTTP = "clients/aiohttp"
WITH_SNIFFIO = "clients/httpx with sniffio"
LIMIT = "clients/sockets"
RIVALS = {
    STOCK: "stock httpx, tuned",
    WITH_SNIFFIO: "stock httpx with sniffio",
    AIOHTTP: "aiohttp",
    LIMIT: "bare sockets, the limit",
}
AT_ONCE = (1, 16, 64, 128)
GOALS = {(STOCK, 64): "<= 0.20", (AIOHTTP, 64): "<= 1.20"}


async def fetches(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare a fetch and its answer, read; connections are kept."""
    names, at_home = [OURS, *RIVALS], [WITH_SNIFFIO, LIMIT]
    with crew(directory, effort, names, at_home=at_home) as together:
        for note in together.missing:
            yield note
        for at_once in AT_ONCE:
            count = max(effort.amount(FETCHES), at_once)
            figures = await measure_in_turns(
                {
                    name: _fetching(worker, count, at_once)
                    for name, worker in together.workers.items()
                },
                effort.rounds_of(ROUNDS),
            )
            for name in RIVALS:
                if name in figures:
                    yield Comparison(
                        what=f"one fetch, {at_once} at once, beside {RIVALS[name]}",
                        unit="us CPU",
                        ours=figures[OURS],
                        rival=figures[name],
                        goal=GOALS.get((name, at_once), NO_GOAL),
                    )


def _fetching(worker: Worker, count: int, at_once: int) -> Measure:
    async def measure() -> float:
        answer = worker.ask("fetches", count=count, at_once=at_once)
        return float(answer["seconds"]) * 1e6

    return measure
