"""What each process and each relay notes of itself in the outbox's store.

One worker of several answers a probe, and its counters begin anew with each reload.
The notes tell of all of them, and the totals of those that are gone, too.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson

from ..models.errors import OutboxError
from ..models.ids import new_id
from ..models.reasons import Reason
from ..version import __version__
from . import Outbox
from .relay import RelayState

logger = logging.getLogger(__name__)

Role = Literal["server", "relay"]

NOTE_AFTER = 1.0
"""How long a process runs before its first note, in seconds."""

NOTE_EVERY = 10.0
"""The pause between two notes of one process, in seconds."""

SILENT_AFTER = 35.0
"""A process that has noted nothing for so many seconds is gone, or stuck."""

RATE_OVER = 60.0
"""How long the time is over which deliveries are counted for their rate, in seconds."""

NO_RELAY_AFTER = 60.0
"""How old an event is that waits without any relay before that is a problem, in
seconds: a relay that is just being restarted is none."""

FORGOTTEN_AFTER = 86_400.0
"""When the note of a process that may be gone is deleted, in seconds."""

TIDY_EVERY = 6
"""Notes of one process from one look at those of others to the next."""

TOTALS = "totals"
"""The name of what all processes that are gone have counted together."""

PROBLEMS: Mapping[Reason, str] = {
    Reason.UNAUTHORIZED: "credentials refused",
    Reason.UNREACHABLE: "MoEngage unreachable",
    Reason.TIMEOUT: "MoEngage too slow",
    Reason.SERVER_ERROR: "MoEngage fails",
    Reason.BAD_ANSWER: "MoEngage unreadable",
    Reason.RATE_LIMITED: "rate limited",
    Reason.BUDGET_SPENT: "budget spent",
    Reason.BREAKER_OPEN: "MoEngage fails",
}
"""The words that ``problem`` begins with, for an alert to look for."""

OUTBOX_PROBLEM = "outbox unwritable"
NO_RELAY = "no relay"


def problem_of(error: object) -> str | None:
    """Return the words for an error or for its reason; None for none."""
    if error is None:
        return None
    reason = error if isinstance(error, Reason) else getattr(error, "reason", None)
    if isinstance(error, OutboxError):
        return OUTBOX_PROBLEM
    return PROBLEMS.get(reason or Reason.ERROR, f"error {type(error).__name__}")


def describe_relay(state: RelayState) -> dict[str, Any]:
    """Return how a relay's deliveries go, as JSON can hold it."""
    return {
        "failures": state.failures,
        "problem": problem_of(state.error),
        "delivered": state.delivered,
        "delivered_at": state.delivered_at,
        "failed_at": state.failed_at,
        "next_try_at": state.next_try_at,
    }


class ProcessNotes:
    """Keeps the note of this process up to date, and reads the others'.

    Args:
        outbox: Keeps the notes.
        role: ``server``, or ``relay`` for a process that only delivers.
        describe: Returns what is to be noted, as JSON can hold it.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        role: Role,
        describe: Callable[[], Mapping[str, Any]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
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
        # What is in the totals already: a process may end and begin again, as it does
        # with each of its event loops.
        self._retired: Mapping[str, float] = {}
        self._delivered = deque([(self._started_at, 0)])

    async def run(self) -> None:
        """Note this process now and then, until cancelled."""
        await asyncio.sleep(NOTE_AFTER)
        for number in itertools.count():
            try:
                if number % TIDY_EVERY == 0:
                    await self._tidy()
                await self._note()
            except OutboxError as error:
                # The outbox has a log line of its own, and the next note may do better.
                logger.debug("process_not_noted error=%s", error)
            await asyncio.sleep(NOTE_EVERY)

    async def end(self, timeout: float = 1.0) -> None:
        """Take the note of this process back, and add what it counted to the totals.

        Never raises but for cancellation.
        """
        mine = self._mine()
        if not (self._noted or any(mine["counters"].values())):
            return
        self._noted = False
        try:
            async with asyncio.timeout(timeout):
                await self._outbox.note(self._name, orjson.dumps(mine))
                await _retire(self._outbox, self._name)
                self._retired = _sum_of([{"counters": self._retired}, mine])["counters"]
        except (OutboxError, TimeoutError) as error:
            logger.debug("process_not_noted error=%s", error)

    @property
    def _name(self) -> str:
        return f"{self._process}:{self._role}:{self._id}"

    async def _note(self) -> None:
        mine = orjson.dumps(self._mine())
        self._noted = True
        await self._outbox.note(self._name, mine)

    def _mine(self) -> dict[str, Any]:
        """Return what this process notes of itself."""
        if self._process != _this_process():
            # It was forked off another.
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
            name: count - self._retired.get(name, 0) if _is_number(count) else count
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

    async def _tidy(self) -> None:
        """Take back the notes of processes that ended without doing it themselves."""
        for name, note in (await self._outbox.notes()).items():
            if name != TOTALS and _is_gone(_read(note), self._clock()):
                await _retire(self._outbox, name)


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_gone(one: Mapping[str, Any], now: float) -> bool:
    silent_for: float = now - one["noted_at"]
    if silent_for <= SILENT_AFTER:
        return False
    host, _, pid = str(one["process"]).rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return silent_for > FORGOTTEN_AFTER
    if int(pid) == os.getpid():
        return one.get("life") != _LIFE
    return not _is_alive(int(pid))


_LIFE = new_id()
"""This process, which may have the id of one before: in a container all may have 1."""


def _is_alive(pid: int) -> bool:
    """Whether a process of this host may be there."""
    if os.name != "posix":
        # Elsewhere to ask would be to end it.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


async def _retire(outbox: Outbox, name: str) -> None:
    """Delete a note, and add what it counted to the totals; once, whoever does it."""
    while True:
        notes = await outbox.notes()
        note, totals = notes.get(name), notes.get(TOTALS, b"")
        if note is None:
            return
        expected = {name: note, TOTALS: totals}
        both = orjson.dumps(_sum_of([_read(totals), _read(note)]))
        if await outbox.replace_notes(expected, {name: b"", TOTALS: both}):
            return


def _sum_of(notes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several have counted together, and since when."""
    counts: Counter[str] = Counter()
    begun = []
    for one in notes:
        counters = one.get("counters")
        for name, count in counters.items() if isinstance(counters, dict) else ():
            if _is_number(count):
                counts[name] += count
        if one.get("started_at"):
            begun.append(one["started_at"])
    return {"started_at": min(begun, default=None), "counters": dict(counts)}


async def read_totals(outbox: Outbox) -> dict[str, Any]:
    """Return what all processes of an outbox have counted, those long gone included.

    ``started_at`` is since when, in unix seconds (None where none has noted itself),
    ``counters`` the counts.

    Raises:
        OutboxError: The store cannot be read.
    """
    return _sum_of(_read(note) for note in (await outbox.notes()).values())


async def read_processes(
    outbox: Outbox, *, clock: Callable[[], float] = time.time
) -> list[dict[str, Any]]:
    """Return the notes of all processes that use an outbox, the oldest process first.

    Each has ``process`` (host:pid), ``role``, ``version``, ``started_at``,
    ``noted_at`` (unix seconds) and ``silent``: whether it has noted nothing for longer
    than ``SILENT_AFTER``; beside what the process says of its breaker, its relay, its
    counters and its ``problem``.

    Raises:
        OutboxError: The store cannot be read.
    """
    now = clock()
    notes = await outbox.notes()
    found = [_read(note) for name, note in notes.items() if name != TOTALS]
    for one in found:
        one["silent"] = now - one["noted_at"] > SILENT_AFTER
    return sorted(found, key=lambda one: (one["started_at"], str(one.get("process"))))


async def read_delivery(
    outbox: Outbox,
    processes: Sequence[Mapping[str, Any]],
    *,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Return how deliveries go, as ``delivery_of`` does; no relay is a problem, too.

    Args:
        outbox: What they deliver from.
        processes: As ``read_processes`` returns them.
        clock: The time, in unix seconds.

    Raises:
        OutboxError: The store cannot be read.
    """
    found = delivery_of(processes)
    if found["relays"] == 0:
        oldest = [one.event for one in await outbox.waiting(limit=1)]
        if any(one and clock() - one.occurred_at > NO_RELAY_AFTER for one in oldest):
            found["delivery_problem"] = NO_RELAY
    return found


def delivery_of(processes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how deliveries go, taken together over all processes that deliver.

    Args:
        processes: As ``read_processes`` returns them.
    """
    relays = [
        one["relay"] for one in processes if one.get("relay") and not one["silent"]
    ]
    failing = [relay for relay in relays if relay["failures"]]
    failed = [relay["failed_at"] for relay in relays if relay["failed_at"] is not None]
    tries = [relay["next_try_at"] for relay in failing]
    return {
        "relays": len(relays),
        "delivered_per_minute": sum(
            relay.get("delivered_per_minute", 0) for relay in relays
        ),
        "failed_at": max(failed, default=None),
        "next_try_at": min(tries) if failing and len(failing) == len(relays) else None,
        "delivery_problem": failing[0]["problem"] if failing else None,
    }


def _read(note: bytes) -> dict[str, Any]:
    """Read a note; one that another version wrote may lack anything."""
    try:
        found = orjson.loads(note)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {}
    moments = {name: found.get(name) for name in ("started_at", "noted_at")}
    return {
        "process": "unknown",
        "role": "server",
        **found,
        **dict.fromkeys(moments, 0.0),
        **{name: moment for name, moment in moments.items() if _is_number(moment)},
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
