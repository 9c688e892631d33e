"""The failure suite: our scenarios, then the common ones, and the report of both."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ..effort import Effort
from ..machine import machine
from ..peers.environment import peers_python, peers_versions
from ..ratios import Figure, Note, Row
from .disks import NotHere
from .report import write
from .scenarios import SCENARIOS, Result, Scenario
from .side_by_side import DUELS, OURS, RIVALS, Cell, Duel, played

QUICK_REPEATS = 2

THREADS = 32

GOAL = "<= 0 lost"

Played = TypeVar("Played")


async def losses(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Play every scenario beside its control, and write the report of a whole run.

    Rows that mostly wait are played beside the others, and printed when they are done.
    """
    load = os.getloadavg()[0]
    rows: asyncio.Queue[Row | None] = asyncio.Queue()
    suite = _Suite(directory, effort, rows.put_nowait)
    tracks = [*suite.tracks()]
    working = asyncio.ensure_future(asyncio.gather(*tracks))
    working.add_done_callback(lambda _: rows.put_nowait(None))
    while (row := await rows.get()) is not None:
        yield row
    await working
    if not effort.quick:
        facts = [*machine(load, peers_versions())]
        path = write(suite.ours, suite.all, suite.left_out, facts)
        yield Note(text=f"written to docs/explanation/{path.name}")
    if suite.failed:
        raise AssertionError(f"{suite.failed} rows could not be played")


class _Suite:
    """One run.

    Attributes:
        ours: Our scenarios that were played: with the fault and without.
        all: Everybody's rows that were played.
        left_out: What could not be played, and why.
        failed: How many of them ought to have been.
    """

    def __init__(
        self, directory: Path, effort: Effort, tell: Callable[[Row], None]
    ) -> None:
        self.ours: list[tuple[Scenario, Result, Result]] = []
        self.all: list[tuple[Duel, dict[str, Cell]]] = []
        self.left_out: list[str] = []
        self.failed = 0
        self._directory = directory
        self._effort = effort
        self._tell = tell
        # The event loop's own are few, and some rows hold theirs for minutes.
        self._threads = ThreadPoolExecutor(THREADS)

    def tracks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What is played at the same time."""
        quick = self._effort.quick
        scenarios = [one for one in SCENARIOS if not (quick and one.takes_minutes)]
        duels = [one for one in DUELS if not (quick and one.takes_minutes)]
        # Each row waits for processes now and then: two at a time use that.
        at_once = [one for one in scenarios if not one.takes_minutes]
        return [
            self._play_ours(at_once[::2]),
            self._play_ours(at_once[1::2]),
            *(self._play_ours([one]) for one in scenarios if one.takes_minutes),
            self._play_all([one for one in duels if not one.is_long]),
            *(self._play_all([one]) for one in duels if one.is_long),
        ]

    async def _play_ours(self, scenarios: Sequence[Scenario]) -> None:
        for scenario in scenarios:
            began = time.monotonic()
            try:
                control = await self._play(scenario, faulty=False)
                if control.tally.lost or control.tally.twice:
                    raise AssertionError("the control itself fails")
                result = await self._play(scenario, faulty=True)
            except Exception as error:
                self._leave_out(scenario.name, error)
                continue
            self.ours.append((scenario, result, control))
            for row in _rows(scenario, result):
                self._tell(row)
            self._tell(Note(text=f"played in {time.monotonic() - began:.0f} s"))

    async def _play(self, scenario: Scenario, *, faulty: bool) -> Result:
        repeats = scenario.repeats
        if not faulty or self._effort.quick:
            repeats = min(repeats, QUICK_REPEATS)
        folder = self._folder(f"ours-{SCENARIOS.index(scenario)}-{faulty}")
        result = await self._threaded(scenario.play, folder, faulty, repeats)
        # A scenario may leave hundreds of megabytes.
        shutil.rmtree(folder, ignore_errors=True)
        return result

    async def _play_all(self, duels: Sequence[Duel]) -> None:
        theirs = await self._threaded(peers_python)
        who = [OURS, *(RIVALS if theirs else ())]
        for duel in duels:
            try:
                cells = await asyncio.gather(
                    *(self._play_one(duel, one, theirs) for one in who)
                )
            except Exception as error:
                self._leave_out(f"common: {duel.name}", error)
                continue
            found = dict(zip(who, cells, strict=True))
            self.all.append((duel, found))
            ours = found[OURS]
            self._tell(
                Figure(
                    what=f"common: {duel.name}",
                    text=f"ours {ours}",
                    goal=GOAL,
                    value=ours.lost + ours.twice + ours.hung,
                )
            )
            for one in who[1:]:
                self._tell(Note(text=f"{one}: {found[one]}"))

    async def _play_one(self, duel: Duel, who: str, theirs: str | None) -> Cell:
        python = sys.executable if who == OURS else theirs
        assert python is not None
        repeats = 1 if self._effort.quick else duel.repeats
        folder = self._folder(f"{who}-{DUELS.index(duel)}")
        return await self._threaded(played, duel, who, python, folder, repeats)

    async def _threaded(self, play: Callable[..., Played], *given: Any) -> Played:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, play, *given)

    def _leave_out(self, name: str, error: Exception) -> None:
        self.failed += not isinstance(error, NotHere)
        self.left_out.append(f"{name}: {error}")
        self._tell(Note(text=f"left out: {name}: {error}"))

    def _folder(self, name: str) -> Path:
        folder = self._directory / name
        folder.mkdir()
        return folder


def _rows(scenario: Scenario, result: Result) -> Iterator[Row]:
    tally = result.tally
    yield Figure(
        what=scenario.name,
        text=f"{len(tally.lost)} of {tally.shown} lost, {tally.twice} twice",
        goal="" if scenario.window else GOAL,
        value=len(tally.lost) + tally.twice,
    )
    if scenario.window:
        each = ", ".join(map(str, sorted(result.lost_each)))
        yield Note(text=f"lost by each of {result.repeats}: {each}")
    if result.ages:
        oldest = max(result.ages) * 1000
        yield Note(text=f"the oldest had been received {oldest:.1f} ms before")
    if result.ended:
        yield Note(text=f"ended within {max(result.ended):.1f} s")
    if result.note:
        yield Note(text=result.note)
