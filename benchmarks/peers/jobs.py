"""The orders of a worker: the same measurements for all peers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .contract import USERS

Answer = dict[str, Any]

TICK = 0.001
"""How often the event loop is asked whether it is free, in seconds."""

SETTLE = 0.05


class Jobs:
    """The jobs of one peer."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer

    async def fetches(self, count: int, at_once: int) -> Answer:
        """Fetch so often, so many at once; the figure is this process's CPU time."""

        async def one_after_the_other() -> None:
            for _ in range(count // at_once):
                assert await self._peer.fetch("customer-7")

        started = time.process_time()
        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return {"seconds": (time.process_time() - started) / count}

    async def stall(self, user: str) -> Answer:
        """Serve a page as an async handler does; how late does the loop get?"""
        latest = 0.0

        async def tick() -> None:
            nonlocal latest
            while True:
                before = time.perf_counter()
                await asyncio.sleep(TICK)
                latest = max(latest, time.perf_counter() - before - TICK)

        ticking = asyncio.ensure_future(tick())
        await asyncio.sleep(SETTLE)
        latest = 0.0
        page = self._peer.page(user, 1)
        if inspect.isawaitable(page):
            await page
        await asyncio.sleep(SETTLE)
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        return {"seconds": latest}

    async def pages(self, user: str, visits: int, reads: int) -> Answer:
        """Serve one user's pages at once, in threads where a page blocks its own."""
        page = self._peer.page
        if inspect.iscoroutinefunction(page):
            await asyncio.gather(*(page(user, reads) for _ in range(visits)))
            return {}
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(visits) as threads:
            await asyncio.gather(
                *(
                    loop.run_in_executor(threads, page, user, reads)
                    for _ in range(visits)
                )
            )
        return {}

    async def record(self, count: int) -> Answer:
        """Record so many impressions one by one; what does the thread pay for each?"""
        record = self._peer.record
        users = list(itertools.islice(itertools.cycle(USERS), count))
        began, worked = time.perf_counter(), time.thread_time()
        for user in users:
            record(user)
        worked, took = time.thread_time() - worked, time.perf_counter() - began
        await self._flush()
        return {"seconds": worked / count, "wall_seconds": took / count}

    async def deliver(self, count: int) -> Answer:
        """Record so many impressions and have them delivered."""
        users = itertools.islice(itertools.cycle(USERS), count)
        record = self._peer.record
        began = time.monotonic()
        for user in users:
            record(user)
        await self._flush()
        return {"began_at": began}

    async def worked(self) -> Answer:
        """Return this process's CPU time so far."""
        return {"seconds": time.process_time()}

    async def _flush(self) -> None:
        flush = self._peer.flush
        if inspect.iscoroutinefunction(flush):
            await flush()
        else:
            await asyncio.to_thread(flush)
