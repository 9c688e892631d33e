"""PostHog, sync and async: evaluates flags by a call for every read."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import posthog  # type: ignore[import-not-found]

from .contract import CONTEXT, DEFAULTS, KEY

QUEUE = 200_000
"""Its own default of 10,000 drops the newest events beyond it."""

FLUSH_TIMEOUT = 60.0


class Posthog:
    def __init__(self, url: str, **limits: float) -> None:
        self._client = posthog.Posthog("phc", host=url, **limits)
        self.close = self._client.shutdown

    def page(self, user: str, reads: int) -> object:
        for _ in range(reads):
            flags = self._client.evaluate_flags(user, flag_keys=[KEY])
            value = flags.get_flag(KEY)
        return value

    def record(self, user: str) -> object:
        return self._client.capture(
            "Viewed",
            distinct_id=user,
            properties=dict(CONTEXT),
            uuid=str(uuid.uuid4()),
        )

    def flush(self) -> object:
        return self._client.flush(FLUSH_TIMEOUT)


class AsyncPosthog:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None

    async def page(self, user: str, reads: int) -> object:
        if self._client is None:
            self._client = posthog.AsyncPosthog("phc", host=self._url)
        for _ in range(reads):
            flags = await self._client.evaluate_flags(user, flag_keys=[KEY])
            value = flags.get_flag(KEY)
        return value


def peer(url: str, directory: Path, variant: str) -> Posthog | AsyncPosthog:
    match variant:
        case "async":
            return AsyncPosthog(url)
        case _ if variant == DEFAULTS:
            return Posthog(url)
        case _:
            return Posthog(url, max_queue_size=QUEUE, flush_interval=0.5)
