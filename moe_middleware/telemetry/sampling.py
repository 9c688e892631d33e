"""Samples a configuration's state: regularly, and whenever metrics are scraped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Iterable
from weakref import WeakSet

from ..cache import MemoryCache
from ..outbox import Outbox
from .contract import Sample, Telemetry

logger = logging.getLogger(__name__)

SAMPLE_EVERY = 10.0
"""Seconds between two samples."""

PATIENCE = 2.0
"""Seconds that a scrape waits for a sample at most; it then has the last one."""


class Sampler:
    """Gives a configuration's telemetry its samples.

    Args:
        cache: This process's cache.
        outbox: The outbox.
        telemetry: Receives the samples.
    """

    def __init__(
        self,
        cache: MemoryCache,
        outbox: Outbox,
        telemetry: Iterable[Telemetry],
    ) -> None:
        self._cache = cache
        self._outbox = outbox
        self._telemetry = [*telemetry]
        _samplers.add(self)

    async def run(self) -> None:
        """Sample until cancelled; without telemetry it ends at once."""
        while self._telemetry:
            await self.sample()
            await asyncio.sleep(SAMPLE_EVERY)

    async def sample(self) -> None:
        """Sample once. It never raises; failures are logged."""
        try:
            sample = await self._read()
        except Exception as error:
            logger.warning("sample_failed error=%s", type(error).__name__)
            return
        for one in self._telemetry:
            try:
                one.sampled(sample)
            except Exception as error:
                logger.warning("sample_failed error=%s", type(error).__name__)

    async def _read(self) -> Sample:
        # A store that is out of reach would keep the counts waiting, too.
        health = await self._outbox.health()
        waiting = dead = oldest_age = None
        if health.writable:
            counts = await self._outbox.count()
            waiting, dead = counts.waiting, counts.dead
            first = await self._outbox.waiting(limit=1) if waiting else ()
            events = [one.event for one in first if one.event is not None]
            now = time.time()
            oldest_age = max([0.0, *(now - event.occurred_at for event in events)])
        return Sample(
            cache_answers=len(self._cache),
            cache_bytes=self._cache.size,
            unsaved=health.unsaved,
            writable=health.writable,
            waiting=waiting,
            dead=dead,
            oldest_age=oldest_age,
        )


async def sample_all() -> None:
    """Sample every configuration of this process, within ``PATIENCE`` seconds."""
    samples: list[Awaitable[None]] = [one.sample() for one in list(_samplers)]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*samples)


_samplers: WeakSet[Sampler] = WeakSet()
