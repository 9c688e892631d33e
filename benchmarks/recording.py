"""What recording one impression costs the request's thread, its id included.

And how long a page's last byte is before its impressions are safe: a process that is
killed in between loses them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import Message

from moe_middleware import Observer

from .effort import Effort
from .peers.crews import crew
from .processes import Worker
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
from .shop import WARM_VISITORS, fill_cache, our_shop, request_scope

EVENTS = 5_000
PAGES = 2_000
ROUNDS = 5
OURS = "ours/events"
RIVALS = ("segment", "posthog", "amplitude", "launchdarkly")
GOALS = {"segment": "<= 0.1"}


async def recording(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare the thread's CPU time, and the time that it takes by the clock."""
    walls: defaultdict[str, list[float]] = defaultdict(list)
    with crew(directory, effort, [OURS, *RIVALS]) as together:
        for note in together.missing:
            yield note
        figures = await measure_in_turns(
            {
                name: _recording(worker, effort.amount(EVENTS), walls[name])
                for name, worker in together.workers.items()
            },
            effort.rounds_of(ROUNDS),
        )
    yield Figure(what="recording one impression", text=spread(figures[OURS], "us CPU"))
    yield Figure(
        what="from a page's last byte until its impressions are safe",
        text=spread(await _windows(directory, effort.amount(PAGES)), "us"),
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
        )
    if len(figures) > 1:
        yield Note(
            text="the rivals keep events in memory only; LaunchDarkly's have no id"
        )


class _Moments(Observer):
    """Notes when impressions are appended."""

    appended_at = 0.0

    def events(self, what: str, count: int) -> None:
        if what == "appended":
            self.appended_at = time.perf_counter()


async def _windows(directory: Path, pages: int) -> list[float]:
    """Return the time from the last byte to the append, for so many pages."""
    moments, windows = _Moments(), []
    app = our_shop(directory / "windows", observer=moments)
    await fill_cache(app, WARM_VISITORS)

    sent_at = 0.0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal sent_at
        sent_at = time.perf_counter()

    for number in range(pages):
        scope = request_scope("/", number % WARM_VISITORS)
        await app({**scope, "state": {}}, receive, send)
        windows.append((moments.appended_at - sent_at) * 1e6)
    await app.runtime.stop()
    return windows


def _recording(worker: Worker, count: int, walls: list[float]) -> Measure:
    async def measure() -> float:
        answer = worker.ask("record", count=count)
        walls.append(answer["wall_seconds"] * 1e6)
        return float(answer["seconds"]) * 1e6

    return measure
