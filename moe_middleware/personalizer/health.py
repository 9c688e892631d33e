"""The state of one configuration, for readiness probes and status pages."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NotRequired, TypedDict, cast

from ..cache import MemoryCache
from ..models.errors import OutboxError
from ..models.observers import Counters
from ..network.breaker import Breaker
from ..outbox import Outbox
from ..outbox.process_status import (
    OUTBOX_PROBLEM,
    delivery_of,
    describe_relay,
    problem_of,
    read_delivery,
    read_processes,
    read_totals,
)
from ..outbox.relay_state import RelayState


class CacheState(TypedDict):
    """The size of a process's cache."""

    answers: int
    bytes: int


class OutboxState(TypedDict):
    """The events of an outbox; see ``outbox.Counts``, whose counts a failing store
    leaves out.
    """

    writable: bool
    unsaved: int
    problem: str | None
    waiting: NotRequired[int]
    dead: NotRequired[int]
    refused: NotRequired[int]
    dropped: NotRequired[int]
    lost: NotRequired[int]


class RelayHealth(TypedDict, total=False):
    """The state of deliveries; times are unix seconds.

    The first six are of this process's relay, the others of all processes' relays,
    where this process has none.
    """

    failures: int
    problem: str | None
    delivered: int
    delivered_at: float | None
    failed_at: float | None
    next_try_at: float | None
    relays: int
    delivered_per_minute: float
    delivery_problem: str | None


class HealthState(TypedDict):
    """The state of one configuration, as ``health`` returns it.

    Attributes:
        ok: Whether events can be stored. An outage of MoEngage does not change it.
        problem: None, or a problem that begins with words of ``PROBLEMS``.
        breaker: ``closed``, ``open`` or ``probing``.
        cache: The number of cached answers, and their bytes.
        outbox: Waiting events, dead letters, losses and problems.
        relay: The state of deliveries; of other processes if ``events.relay`` is off.
        counters: All counts so far, by dotted names: see ``Counters.snapshot``.
        processes: With ``everyone``, the latest note of every server and relay.
        totals: With ``everyone``, all counts together, ended processes included.
    """

    ok: bool
    problem: str | None
    breaker: str
    cache: CacheState
    outbox: OutboxState
    relay: RelayHealth
    counters: dict[str, float | str]
    processes: NotRequired[list[dict[str, Any]]]
    totals: NotRequired[dict[str, Any]]


def describe(
    breaker: Breaker, cache: MemoryCache, relay: RelayState | None, counters: Counters
) -> dict[str, Any]:
    """Return the content of a process's note, as JSON values.

    Without a ``relay`` it does not deliver.
    """
    delivery = describe_relay(relay) if relay is not None else None
    asking = None if breaker.state == "closed" else problem_of(breaker.reason)
    return {
        "breaker": str(breaker.state),
        "cache": {"answers": len(cache), "bytes": cache.size},
        "relay": delivery,
        "problem": (delivery and delivery["problem"]) or asking,
        "counters": dict(counters.snapshot()),
    }


async def state_of(
    outbox: Outbox, mine: Mapping[str, Any], *, relay_here: bool, everyone: bool
) -> HealthState:
    """Return the state of this process and of its outbox; see ``health``.

    Args:
        mine: The content of this process's note.
        relay_here: Whether this process delivers.
        everyone: Whether to add the other processes' notes, and the totals.
    """
    store, counts = await outbox.health(), None
    processes: list[dict[str, Any]] = []
    totals: dict[str, Any] = {}
    relay = mine["relay"] if relay_here else delivery_of(())
    problem = mine["problem"]
    if store.writable:
        with contextlib.suppress(OutboxError):
            counts = await outbox.count()
            if everyone or not relay_here:
                processes = await read_processes(outbox)
            if everyone:
                totals = await read_totals(outbox)
            if not relay_here:
                relay = await read_delivery(outbox, processes)
                problem = relay["delivery_problem"] or problem
    events = {**asdict(store), **(asdict(counts) if counts is not None else {})}
    state: HealthState = {
        "ok": store.writable,
        "problem": OUTBOX_PROBLEM if not store.writable else problem,
        "breaker": mine["breaker"],
        "cache": mine["cache"],
        "outbox": cast(OutboxState, events),
        "relay": cast(RelayHealth, relay),
        "counters": mine["counters"],
    }
    if everyone:
        state["processes"], state["totals"] = processes, totals
    return state
