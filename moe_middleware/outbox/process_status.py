"""Reads the notes of all processes: their counts, and the state of deliveries."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from ..models.errors import OutboxError
from ..models.reasons import Reason
from . import Outbox
from .relay_state import RelayState

SILENT_AFTER = 35.0
"""Seconds without a note after which a process is gone, or stuck."""

NO_RELAY_AFTER = 60.0
"""Seconds that an event waits without any relay before that is a problem: a relay that
restarts takes less."""

TOTALS = "totals"
"""The name of the note with the counts of all ended processes."""

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
"""The first words of ``problem``, for alerts."""

OUTBOX_PROBLEM = "outbox unwritable"
NO_RELAY = "no relay"


def problem_of(error: object) -> str | None:
    """Return the words for an error or a reason; None for None."""
    if error is None:
        return None
    reason = error if isinstance(error, Reason) else getattr(error, "reason", None)
    if isinstance(error, OutboxError):
        return OUTBOX_PROBLEM
    return PROBLEMS.get(reason or Reason.ERROR, f"error {type(error).__name__}")


def describe_relay(state: RelayState) -> dict[str, Any]:
    """Return the state of a relay's deliveries, as JSON values."""
    return {
        "failures": state.failures,
        "problem": problem_of(state.error),
        "delivered": state.delivered,
        "delivered_at": state.delivered_at,
        "failed_at": state.failed_at,
        "next_try_at": state.next_try_at,
    }


async def read_totals(outbox: Outbox) -> dict[str, Any]:
    """Return the counts of all processes of an outbox, ended ones included.

    ``started_at`` is their beginning, in unix seconds (None without any note),
    ``counters`` the counts.

    Raises:
        OutboxError: The store cannot be read.
    """
    return sum_of(read_note(note) for note in (await outbox.notes()).values())


async def read_processes(
    outbox: Outbox, *, clock: Callable[[], float] = time.time
) -> list[dict[str, Any]]:
    """Return the notes of all processes that use an outbox, the oldest process first.

    Each has ``process`` (host:pid), ``role``, ``version``, ``started_at``, ``noted_at``
    (unix seconds) and ``silent`` (no note for longer than ``SILENT_AFTER``), and the
    process's own values, as its breaker, relay, counters and ``problem``.

    Raises:
        OutboxError: The store cannot be read.
    """
    now = clock()
    notes = await outbox.notes()
    found = [read_note(note) for name, note in notes.items() if name != TOTALS]
    for one in found:
        one["silent"] = now - one["noted_at"] > SILENT_AFTER
    return sorted(found, key=lambda one: (one["started_at"], str(one.get("process"))))


async def read_delivery(
    outbox: Outbox,
    processes: Sequence[Mapping[str, Any]],
    *,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Return the result of ``delivery_of``; a missing relay is a problem, too.

    Args:
        outbox: The outbox of these processes.
        processes: The result of ``read_processes``.
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
    """Return the state of deliveries over all processes that deliver.

    Args:
        processes: The result of ``read_processes``.
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


def sum_of(notes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of several notes' counts, and their beginning."""
    counts: Counter[str] = Counter()
    begun = []
    for one in notes:
        counters = one.get("counters")
        for name, count in counters.items() if isinstance(counters, dict) else ():
            if is_number(count):
                counts[name] += count
        if one.get("started_at"):
            begun.append(one["started_at"])
    return {"started_at": min(begun, default=None), "counters": dict(counts)}


def read_note(note: bytes) -> dict[str, Any]:
    """Parse a note; one of another version may lack any key."""
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
        **{name: moment for name, moment in moments.items() if is_number(moment)},
    }


def is_number(value: object) -> bool:
    return isinstance(value, int | float)
