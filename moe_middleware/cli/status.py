"""The command ``status``: shows every process that uses an outbox."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from . import options
from .outbox_places import on_an_outbox, use_outbox
from .outbox_tables import delivery_rows
from .terminal import duration, printable, table

if TYPE_CHECKING:
    from ..outbox import Outbox

WATCH_EVERY = 2.0
"""Seconds between two updates."""


@click.command(
    epilog="""\b
Examples:
  moe-middleware status
  moe-middleware status --watch
  moe-middleware status --json --config deploy/moe.yml

Each server process and each relay notes itself every ten seconds in the outbox's store,
so this command tells of all of them, on every host that shares the outbox. The last row
counts all together, those that have ended since included.

The exit code is 0, and 1 where a process or the outbox has a problem."""
)
@on_an_outbox
@options.as_json
@click.option("--watch", is_flag=True, help="Look again every two seconds.")
def status(config: str | None, url: str | None, as_json: bool, watch: bool) -> None:
    """Show all servers and relays, and what waits for delivery."""
    while True:
        address, found = use_outbox(config, url, _look)
        if as_json:
            click.echo(json.dumps({"outbox": address, **found}, indent=2))
        else:
            if watch:
                click.clear()
            click.echo("\n".join(_lines(address, found)))
        if not watch:
            break
        time.sleep(WATCH_EVERY)
    if not found["ok"]:
        sys.exit(1)


async def _look(outbox: Outbox) -> dict[str, Any]:
    from ..outbox.process_status import read_delivery, read_processes, read_totals

    counts, health = await outbox.count(), await outbox.health()
    processes = await read_processes(outbox)
    delivery = await read_delivery(outbox, processes)
    is_well = not any(one["silent"] or one.get("problem") for one in processes)
    return {
        "ok": health.writable and is_well and not delivery["delivery_problem"],
        "waiting": counts.waiting,
        "dead": counts.dead,
        "writable": health.writable,
        "problem": health.problem,
        **delivery,
        "processes": processes,
        "totals": await read_totals(outbox),
    }


def _lines(address: str, found: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        ("outbox", address),
        ("waiting", f"{found['waiting']:,}"),
        ("dead", f"{found['dead']:,}"),
        *delivery_rows(found),
        ("writable", "yes" if found["writable"] else f"no: {found['problem']}"),
    ]
    yield from table(rows)
    yield ""
    if not found["processes"]:
        yield "No process notes itself now: one does so a second after its start."
        if found["totals"]["started_at"] is None:
            return
    each = [_row(one) for one in found["processes"]]
    yield from table([_HEAD, *each, _total_row(found["totals"])])


_HEAD = (
    *("PROCESS", "ROLE", "UP", "SEEN", "BREAKER"),
    *("ANSWERS", "FALLBACKS", "DELIVERED", "PROBLEM"),
)


def _row(one: Mapping[str, Any]) -> Sequence[str]:
    seen_until = one["noted_at"] if one["silent"] else time.time()
    problem = "silent: gone, or stuck" if one["silent"] else one.get("problem")
    return [
        printable(one["process"]),
        printable(one["role"]),
        duration(seen_until - one["started_at"]),
        f"{duration(max(0.0, time.time() - one['noted_at']))} ago",
        printable(one.get("breaker", "-")),
        *_counts(one.get("counters") or {}),
        printable(problem or "-"),
    ]


def _total_row(totals: Mapping[str, Any]) -> Sequence[str]:
    """Return the last row: all processes so far, and the time of their counts."""
    since = duration(time.time() - totals["started_at"])
    return ["all, also ended", "", since, "", "", *_counts(totals["counters"]), ""]


def _counts(counters: Mapping[str, Any]) -> Sequence[str]:
    answers = [count for name, count in counters.items() if name[:8] == "answers."]
    return [
        f"{sum(answers):,.0f}",
        f"{counters.get('answers.fallback', 0):,.0f}",
        f"{counters.get('events.delivered', 0):,.0f}",
    ]
