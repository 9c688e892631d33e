"""A million distinct visitors through the cache, beside other ways to keep them."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cachetools import TTLCache

from moe_middleware.cache.memory import (
    MemoryCache,
    decode,
    encode,
    variant_key,
    visitor_key,
)
from moe_middleware.models.experience import Experience
from moe_middleware.models.identity import Identity
from moe_middleware.models.reasons import Source

from .effort import Effort
from .machine import resident
from .peers.contract import CONTEXT
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

MILLION = 1_000_000
POPULATIONS = (1_000, 100_000, MILLION)
HITS = 5_000
"""Hits of one round, of random visitors."""

ROUNDS = 9
KEYS = ("homepage-banner", "promo-strip")
VARIANT = variant_key({"DAY_OF_THE_WEEK": "Monday", "TIME_OF_THE_DAY": "09"})
VARIATIONS = 4
EVERYONE = ("ours", "TTLCache", "dict")
BOUND = 64 * 1024 * 1024
"""The default of ``cache.max_bytes``."""

NO_BOUND = 1 << 40
TTL = 60.0
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one process measured, alone with its visitors.

    Attributes:
        steps: The longest ``put`` while they came, in milliseconds of CPU time.
        memory: What the process grew by, in bytes.
        size: The cache's own estimate of it; None where it makes none.
        visitors: How many are there in the end.
        collection: A full garbage collection beside one without them, in milliseconds.
        expired: The ``put`` after all of them have expired, in milliseconds.
    """

    steps: float
    memory: int
    size: int | None
    visitors: int
    collection: float
    expired: float


async def caches(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Measure each in a process of its own, as memory is the process's."""
    count = effort.amount(MILLION)
    rounds = effort.rounds_of(ROUNDS)
    reports = {
        name: Report(**await _apart("memory", name, count))
        for name in ("bounded", "own", *EVERYONE)
    }
    yield Note(
        text=f"2 keys a visitor, {VARIATIONS} variations of each; the rivals keep the "
        "same bytes, without a lock"
    )
    for name, of_whom in (("bounded", "alike"), ("own", "each visitor's own")):
        report = reports[name]
        yield Figure(
            what=f"{count:,} visitors, max_bytes {BOUND // MIB} MiB, bodies {of_whom}",
            text=f"{report.memory / MIB:.0f} MiB, {report.visitors:,} kept",
            goal=f"<= {BOUND * 1.15 / MIB:.0f} MiB",
            value=report.memory / MIB,
        )
        if report.size is not None:
            yield Figure(
                what="  the process's memory beside the cache's own estimate",
                text=f"{report.memory / report.size:.2f}",
                goal="<= 1.15",
                value=report.memory / report.size,
            )
    for name in EVERYONE:
        memory = reports[name].memory
        yield Figure(
            what=f"{count:,} visitors without a bound: {name}",
            text=f"{memory / MIB:.0f} MiB, {memory / count:.0f} B each",
        )
    async for row in _hit_rows(count, rounds):
        yield row
    for what, values in (
        (
            f"longest put while {count:,} came",
            {
                name: reports[name].steps
                for name in ("ours", "bounded", "TTLCache", "dict")
            },
        ),
        (
            f"the put after {count:,} have expired",
            {name: reports[name].expired for name in ("ours", "TTLCache")},
        ),
    ):
        for name, milliseconds in values.items():
            yield Figure(
                what=f"{what}: {name}",
                text=f"{milliseconds:.2f} ms CPU",
                goal="<= 1 ms" if name in ("ours", "bounded") else NO_GOAL,
                value=milliseconds,
            )
    for name in EVERYONE:
        yield Figure(
            what=f"what a full garbage collection takes longer: {name}",
            text=f"{reports[name].collection:.1f} ms",
        )


async def _hit_rows(count: int, rounds: int) -> AsyncIterator[Row]:
    measured = await _apart("hits", count, rounds)
    for population, figures in measured.items():
        yield Figure(
            what=f"a hit of 2 keys among {int(population):,} visitors",
            text=spread(figures["ours"], "us CPU"),
        )
        for rival, goal in (("TTLCache", "<= 1.5"), ("dict", "<= 2")):
            yield Comparison(
                what=f"  beside {rival}",
                unit="us CPU",
                ours=figures["ours"],
                rival=figures[rival],
                goal=goal,
            )
    few, many = min(measured, key=int), max(measured, key=int)
    yield Comparison(
        what=f"a hit among {int(many):,} visitors beside {int(few):,}",
        unit="us CPU",
        ours=measured[many]["ours"],
        rival=measured[few]["ours"],
        goal="<= 2",
    )


async def _apart(*arguments: object) -> Any:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", __name__, *map(str, arguments)],
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    return json.loads(printed)


# --- in a process of its own -----------------------------------------------


class Ours:
    """Our cache."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self.cache = MemoryCache(
            ttl=TTL,
            stale=0.0,
            max_entries=10 * MILLION,
            max_bytes=max_bytes,
            clock=clock,
        )

    def put(self, visitor: bytes, bodies: dict[str, bytes]) -> None:
        answers = {key: (TTL, body) for key, body in bodies.items()}
        self.cache.put_encoded(visitor, VARIANT, answers)

    def get(self, visitor: bytes) -> list[Experience]:
        return self.cache.get(visitor, VARIANT, KEYS)


class Mapped:
    """A mapping from visitors to their bodies by key."""

    def __init__(self, kept: MutableMapping[bytes, dict[str, bytes]]) -> None:
        self.kept = kept

    def put(self, visitor: bytes, bodies: dict[str, bytes]) -> None:
        self.kept[visitor + VARIANT] = bodies

    def get(self, visitor: bytes) -> list[Experience]:
        bodies = self.kept[visitor + VARIANT]
        return [decode(key, bodies[key], Source.CACHE) for key in KEYS]


class Clock:
    """A clock that stands still until it is moved, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _made(name: str, clock: Clock) -> Ours | Mapped:
    match name:
        case "TTLCache":
            return Mapped(TTLCache(10 * MILLION, TTL, clock))
        case "dict":
            return Mapped({})
        case "ours":
            return Ours(NO_BOUND, clock)
        case _:
            return Ours(BOUND, clock)


def _memory_of(name: str, count: int) -> dict[str, Any]:
    clock = Clock()
    gc.collect()
    # Memory of the imports is no part of the visitors' cost.
    gc.freeze()
    without = _collection()
    steps = [array("d", bytes(8 * count)) for _ in range(2)]
    before = resident()
    kept = _made(name, clock)
    _fill(kept, name, count, steps[0])
    memory = resident() - before
    with_them = _collection()
    size, visitors = None, count
    if isinstance(kept, Ours):
        size, visitors = kept.cache.size, len(kept.cache) // len(KEYS)
    clock.now += TTL
    began = time.thread_time()
    kept.put(_visitor(-1), _bodies(name, -1))
    expired = time.thread_time() - began
    kept = _made(name, clock)
    gc.collect()
    _fill(kept, name, count, steps[1])
    report = Report(
        # A put that is slow twice is slow by itself, not by the machine.
        steps=max(map(min, *steps)) * 1e3,
        memory=memory,
        size=size,
        visitors=visitors,
        collection=(with_them - without) * 1e3,
        expired=expired * 1e3,
    )
    return asdict(report)


def _fill(kept: Ours | Mapped, name: str, count: int, took: array[float]) -> None:
    """Let visitors come, and note how long each one took."""
    for number in range(count):
        visitor, bodies = _visitor(number), _bodies(name, number)
        began = time.thread_time()
        kept.put(visitor, bodies)
        took[number] = time.thread_time() - began


async def _hits_of_everyone(count: int, rounds: int) -> dict[str, Any]:
    everyone = {name: _made(name, Clock()) for name in EVERYONE}
    # The rivals' objects are no burden to the others.
    gc.disable()
    measured: dict[str, Any] = {}
    there = 0
    for population in sorted({min(population, count) for population in POPULATIONS}):
        for number in range(there, population):
            for kept in everyone.values():
                kept.put(_visitor(number), _bodies("alike", number))
        there = population
        measured[str(population)] = await measure_in_turns(
            {name: _hits(kept, population) for name, kept in everyone.items()}, rounds
        )
    return measured


def _hits(kept: Ours | Mapped, visitors: int) -> Measure:
    async def measure() -> float:
        wanted = [_visitor(random.randrange(visitors)) for _ in range(HITS)]
        began = time.thread_time()
        for visitor in wanted:
            kept.get(visitor)
        return (time.thread_time() - began) / HITS * 1e6

    return measure


def _visitor(number: int) -> bytes:
    return visitor_key(Identity(customer_id=f"customer-{number}"))


def _bodies(name: str, number: int) -> dict[str, bytes]:
    """Return bodies as they come from the network: each time other objects."""
    alike = BODIES[number % VARIATIONS]
    if name == "own":
        greeting = b"Hello %d" % number
        return {key: body.replace(b"Hello", greeting) for key, body in alike.items()}
    return {key: bytes(memoryview(body)) for key, body in alike.items()}


BODIES = [
    {
        key: encode(
            Experience(
                key=key,
                payload={
                    "Title": "Free shipping on your first order",
                    "CTA Label": "Shop now",
                    "Greeting": "Hello",
                },
                experience_context={
                    **CONTEXT,
                    "cid": CONTEXT["cid"].replace("_2_", f"_{variation}_"),
                    "experience": key,
                    "moe_variation_id": f"{variation}",
                },
            )
        )
        for key in KEYS
    }
    for variation in range(VARIATIONS)
]


def _collection() -> float:
    began = time.perf_counter()
    gc.collect()
    return time.perf_counter() - began


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["memory", name, count]:
            found = _memory_of(name, int(count))
        case [_, count, rounds]:
            found = asyncio.run(_hits_of_everyone(int(count), int(rounds)))
    print(json.dumps(found))
