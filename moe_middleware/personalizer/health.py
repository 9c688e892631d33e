"""The state of one configuration, for readiness probes and status pages."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..models.errors import OutboxError
from ..outbox import Outbox
from ..outbox.process_status import (
    OUTBOX_PROBLEM,
    delivery_of,
    read_delivery,
    read_processes,
    read_totals,
)


async def state_of(
    outbox: Outbox, mine: Mapping[str, Any], *, relay_here: bool, everyone: bool
) -> dict[str, Any]:
    """Return the state of this process and of its outbox; see ``health``.

    Args:
        outbox: The outbox.
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
    state = {
        "ok": store.writable,
        "problem": OUTBOX_PROBLEM if not store.writable else problem,
        "breaker": mine["breaker"],
        "cache": mine["cache"],
        "outbox": {
            **asdict(store),
            **(asdict(counts) if counts is not None else {}),
        },
        "relay": relay,
        "counters": mine["counters"],
    }
    if everyone:
        state |= {"processes": processes, "totals": totals}
    return state
