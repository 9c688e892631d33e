"""One fetch's CPU time: our client beside httpx, aiohttp, and a bare socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from .effort import FULL, Effort
from .orders import Worker
from .peers.crews import crew
from .ratios import NO_GOAL, Comparison, Measure, Row, measure_in_turns

FETCHES = 640
ROUNDS = 5
OURS = "ours/client"
STOCK = "httpx"
AIOHTTP = "aiohttp"
WITH_SNIFFIO = "httpx/sniffio"
LIMIT = "sockets"
RIVALS = {
    STOCK: "stock httpx, tuned",
    WITH_SNIFFIO: "stock httpx with sniffio",
    AIOHTTP: "aiohttp",
    LIMIT: "bare sockets, the limit",
}
AT_ONCE = (1, 16, 64, 128)
GOALS = {(STOCK, 64): "<= 0.20", (AIOHTTP, 64): "<= 1.20"}


async def fetches(
    directory: Path, effort: Effort = FULL, rivals: dict[str, str] = RIVALS
) -> AsyncIterator[Row]:
    """Compare a fetch and its answer, read; connections are kept."""
    async with crew(
        directory, [OURS, *rivals], at_home=[WITH_SNIFFIO, LIMIT]
    ) as together:
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
            for name in rivals:
                if name in figures:
                    yield Comparison(
                        what=f"one fetch, {at_once} at once, beside {rivals[name]}",
                        unit="us CPU",
                        ours=figures[OURS],
                        rival=figures[name],
                        goal=GOALS.get((name, at_once), NO_GOAL),
                    )


def _fetching(worker: Worker, count: int, at_once: int) -> Measure:
    async def measure() -> float:
        answer = await worker.ask("fetches", count=count, at_once=at_once)
        seconds: float = answer["seconds"]
        return seconds * 1e6

    return measure
