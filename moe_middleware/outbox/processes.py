"""Each process's note about itself in the outbox's store.

A probe reaches one of several workers, whose counters restart with each reload. The
notes cover all of them, and the totals include ended processes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import orjson

from ..concurrency.processes import is_alive
from ..models.errors import OutboxError
from ..models.ids import new_id
from ..version import __version__
from . import Outbox
from .process_status import SILENT_AFTER, TOTALS, is_number, read_note, sum_of

logger = logging.getLogger(__name__)

Role = Literal["server", "relay"]

NOTE_AFTER = 1.0
"""Seconds after a process's start until its first note."""

NOTE_EVERY = 10.0
"""Seconds between two notes of one process."""

RATE_OVER = 60.0
"""Seconds over which the rate of deliveries is measured."""

FORGOTTEN_AFTER = 86_400.0
"""Seconds after which the note of a process on another host is deleted."""

TIDY_EVERY = 6
"""Notes of a process between two checks of the others' notes."""


class ProcessNotes:
    """Keeps the note of this process up to date, and tidies up ended ones.

    Args:
        outbox: Stores the notes.
        role: ``server``, or ``relay`` for a process that only delivers.
        describe: Returns the content of the note, as JSON values.
        clock: The time, in unix seconds.
        met: Receives the number of other servers on the same outbox, once, if there are
            any.
    """

    def __init__(
        self,
        outbox: Outbox,
        role: Role,
        describe: Callable[[], Mapping[str, Any]],
        *,
        clock: Callable[[], float] = time.time,
        met: Callable[[int], None] | None = None,
    ) -> None:
        self._met = met
        self._outbox = outbox
        self._role = role
        self._describe = describe
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._process = _this_process()
        self._id = new_id()
        self._started_at = self._clock()
        self._noted = False
        # The counts that are in the totals already: a process may end and begin again,
        # as with each of its event loops.
        self._retired: Mapping[str, float] = {}
        self._delivered = deque([(self._started_at, 0)])

    async def run(self) -> None:
        """Update the note regularly, until cancelled."""
        await asyncio.sleep(NOTE_AFTER)
        for number in itertools.count():
            try:
                if number % TIDY_EVERY == 0:
                    await self._tidy()
                mine = orjson.dumps(self._mine())
                self._noted = True
                await self._outbox.note(self._name, mine)
                if self._met is not None and (others := await self._others()):
                    self._met(others)
                    self._met = None
            except OutboxError as error:
                # The outbox logs its failures itself; the next note may succeed.
                logger.debug("process_not_noted error=%s", error)
            await asyncio.sleep(NOTE_EVERY)

    async def end(self, timeout: float = 1.0) -> None:
        """Delete the note of this process, and add its counts to the totals.

        Raises nothing but CancelledError.
        """
        mine = self._mine()
        if not (self._noted or any(mine["counters"].values())):
            return
        self._noted = False
        try:
            async with asyncio.timeout(timeout):
                # The last counts, which are then added to the totals.
                await self._outbox.note(self._name, orjson.dumps(mine))
                await _retire(self._outbox, self._name)
                self._retired = sum_of([{"counters": self._retired}, mine])["counters"]
        except (OutboxError, TimeoutError) as error:
            logger.debug("process_not_noted error=%s", error)

    @property
    def _name(self) -> str:
        return f"{self._process}:{self._role}:{self._id}"

    def _mine(self) -> dict[str, Any]:
        """Return the content of this process's note."""
        if self._process != _this_process():
            # It is a fork of another process.
            self._begin()
        now, described = self._clock(), dict(self._describe())
        if relay := described["relay"]:
            counts = self._delivered
            counts.append((now, relay["delivered"]))
            while len(counts) > 2 and counts[1][0] <= now - RATE_OVER:
                counts.popleft()
            then, before = counts[0]
            rate = (relay["delivered"] - before) / max(RATE_OVER, now - then) * 60
            described["relay"] = {**relay, "delivered_per_minute": round(rate, 1)}
        counters = {
            name: count - self._retired.get(name, 0) if is_number(count) else count
            for name, count in described["counters"].items()
        }
        return {
            "process": self._process,
            "role": self._role,
            "version": __version__,
            "life": _LIFE,
            "started_at": self._started_at,
            "noted_at": now,
            **described,
            "counters": counters,
        }

    async def _others(self) -> int:
        """Return how many other processes serve pages with the same outbox now."""
        notes = [read_note(one) for one in (await self._outbox.notes()).values()]
        found = {
            one["process"]
            for one in notes
            if one.get("role") == "server" and _is_there(one, self._clock())
        }
        return len(found - {self._process})

    async def _tidy(self) -> None:
        """Delete the notes of processes that ended without doing so."""
        for name, note in (await self._outbox.notes()).items():
            if name != TOTALS and _is_gone(read_note(note), self._clock()):
                await _retire(self._outbox, name)


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_gone(one: Mapping[str, Any], now: float) -> bool:
    silent_for: float = now - one["noted_at"]
    if silent_for <= SILENT_AFTER:
        return False
    runs = _runs_here(one)
    if runs is None:
        return silent_for > FORGOTTEN_AFTER
    return not runs or (one["process"] == _this_process() and one.get("life") != _LIFE)


def _is_there(one: Mapping[str, Any], now: float) -> bool:
    return now - one["noted_at"] <= SILENT_AFTER and _runs_here(one) is not False


def _runs_here(one: Mapping[str, Any]) -> bool | None:
    """Whether a process of this host runs; None for one of another host."""
    host, _, pid = str(one["process"]).rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return None
    return is_alive(int(pid))


_LIFE = new_id()
"""Identifies this process: an earlier one may have had the same id, as in a container
where all have 1."""


async def _retire(outbox: Outbox, name: str) -> None:
    """Delete a note, and add its counts to the totals; once, even if several try."""
    while True:
        notes = await outbox.notes()
        note, totals = notes.get(name), notes.get(TOTALS, b"")
        if note is None:
            return
        expected = {name: note, TOTALS: totals}
        both = orjson.dumps(sum_of([read_note(totals), read_note(note)]))
        if await outbox.replace_notes(expected, {name: b"", TOTALS: both}):
            return
