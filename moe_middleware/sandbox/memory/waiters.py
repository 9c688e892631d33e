"""Lets tasks wait for events that any thread may store."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Waiter:
    """One waiting task, which any thread can wake."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    async def wait(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return
        # Set again by the next event, while the caller looks at the store.
        self._event.clear()

    def wake(self) -> None:
        # A closed loop has no waiting tasks.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)
