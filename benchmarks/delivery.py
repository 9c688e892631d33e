"""Events a second: into the durable outbox, and from there to a local upstream."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from moe_middleware import Event, MoEngageClient, SQLiteOutbox
from moe_middleware.outbox.relay import Relay

from .effort import Effort
from .peers.crews import crew
from .peers.ours import impressions, settings
from .processes import Worker
from .ratios import Comparison, Figure, Measure, Note, Row, measure_in_turns, spread
from .upstream import Upstream, upstream

APPENDED = 50_000
DELIVERED = 20_000
ROUNDS = 5
OURS = "ours/events"
RIVALS = ("segment", "posthog", "amplitude", "launchdarkly")
ARRIVAL_TIMEOUT = 60.0
"""How long the last event may take to arrive, in seconds."""


async def delivery(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Measure the outbox and the relay alone, then everyone from end to end."""
    async for row in _alone(directory, effort):
        yield row
    async for row in _end_to_end(directory, effort):
        yield row


async def _alone(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    appended: list[float] = []
    delivered: list[float] = []
    # As the command ``relay`` does at its start.
    gc.freeze()
    with upstream(directory) as server:
        for number in range(effort.rounds_of(ROUNDS)):
            outbox = SQLiteOutbox(str(directory / f"delivery-{number}.db"))
            count = effort.amount(APPENDED)
            await outbox.count()  # it makes its file now, not while it is measured
            # No list of them is left: a relay's garbage collections do not visit it.
            appended.append(await _append_rate(outbox, impressions(count)))
            delivered.append(await _delivery_rate(outbox, server, count))
            outbox.close()
    gc.unfreeze()
    for what, values, goal in (
        ("durable append, one by one, until committed", appended, ">= 100,000/s"),
        ("delivery of what waits: claim, report, ack", delivered, ">= 60,000/s"),
    ):
        text = spread(values, "/s")
        yield Figure(what=what, text=text, goal=goal, value=median(values))


async def _append_rate(outbox: SQLiteOutbox, events: list[Event]) -> float:
    began = time.perf_counter()
    for event in events:
        outbox.append([event])
    await outbox.flush()
    return len(events) / (time.perf_counter() - began)


async def _delivery_rate(outbox: SQLiteOutbox, server: Upstream, count: int) -> float:
    server.behave()
    async with MoEngageClient(settings(server.url)) as client:
        began = time.perf_counter()
        await Relay(outbox, client.report).deliver()
        took = time.perf_counter() - began
    waiting, (arrived, _) = (await outbox.count()).waiting, server.events()
    if waiting or arrived != count:
        raise RuntimeError(f"{arrived} of {count} events arrived, {waiting} wait")
    return count / took


async def _end_to_end(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    worked: defaultdict[str, list[float]] = defaultdict(list)
    with crew(directory, effort, [OURS, *RIVALS]) as together:
        for note in together.missing:
            yield note
        rates = await measure_in_turns(
            {
                name: _delivering(
                    worker, together.upstream, effort.amount(DELIVERED), worked[name]
                )
                for name, worker in together.workers.items()
            },
            effort.rounds_of(ROUNDS),
        )
    yield Figure(
        what="recorded and delivered, from the first to the last",
        text=spread(rates[OURS], "/s"),
    )
    for name in rates:
        if name == OURS:
            continue
        yield Comparison(
            what=f"  beside {name}", unit="/s", ours=rates[OURS], rival=rates[name]
        )
        # The first round only warmed up.
        yield Comparison(
            what="    CPU time of the whole process for one event",
            unit="us CPU",
            ours=worked[OURS][1:],
            rival=worked[name][1:],
        )
    if len(rates) > 1:
        yield Note(text="ours are on the disk before they go out; theirs never are")


def _delivering(
    worker: Worker, server: Upstream, count: int, worked: list[float]
) -> Measure:
    async def measure() -> float:
        server.behave()
        before = worker.ask("worked")["seconds"]
        began_at = worker.ask("deliver", count=count)["began_at"]
        last_at = await _all_arrived(server, count)
        after = worker.ask("worked")["seconds"]
        worked.append((after - before) / count * 1e6)
        # Both clocks are the machine's monotonic one.
        return count / (last_at - float(began_at))

    return measure


async def _all_arrived(server: Upstream, count: int) -> float:
    """Wait for the last event; return when it came."""
    async with asyncio.timeout(ARRIVAL_TIMEOUT):
        while True:
            arrived, last_at = server.events()
            if arrived >= count:
                return last_at
            await asyncio.sleep(0.01)
