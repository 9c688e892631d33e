"""A million events that have waited: how fast they go out, and with how much memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from moe_middleware import MoEngageClient, SQLiteOutbox
from moe_middleware.outbox.relay import Relay

from .effort import Effort
from .machine import resident
from .peers.ours import impressions, settings
from .ratios import Figure, Row
from .upstream import upstream

EVENTS = 1_000_000
CUSTOMERS = 200_000
MIB = 2**20
APPENDED_AT_ONCE = 5_000
LOOKS = 0.5
"""Between two looks at the memory, in seconds."""


async def backlog(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Append events without a relay, then let one empty the outbox."""
    outbox = SQLiteOutbox(str(directory / "backlog.db"))
    count = effort.amount(EVENTS)
    began = time.perf_counter()
    for begin in range(0, count, APPENDED_AT_ONCE):
        begins = begin % CUSTOMERS
        some = [f"customer-{begins + number}" for number in range(APPENDED_AT_ONCE)]
        outbox.append(impressions(min(APPENDED_AT_ONCE, count), some))
        await outbox.flush()
    rate = count / (time.perf_counter() - began)
    yield Figure(what=f"{count:,} events appended", text=f"{rate:,.0f}/s")
    with upstream(directory) as server:
        async with MoEngageClient(settings(server.url)) as client:
            before, most = resident() / MIB, 0.0
            began = time.perf_counter()
            run = asyncio.create_task(
                Relay(outbox, client.report).run(until_empty=True)
            )
            while not run.done():
                await asyncio.wait([run], timeout=LOOKS)
                most = max(most, resident() / MIB)
            rate = count / (time.perf_counter() - began)
            arrived, _ = server.events()
    waiting = (await outbox.count()).waiting
    outbox.close()
    if waiting or arrived != count:
        raise RuntimeError(f"{arrived} of {count} events arrived, {waiting} wait")
    yield Figure(what="  delivered by one relay", text=f"{rate:,.0f}/s")
    yield Figure(
        what="  memory meanwhile",
        text=f"{before:.0f} MiB before, {most:.0f} at most",
        goal="<= 64 MiB more",
        value=most - before,
    )
