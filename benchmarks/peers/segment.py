"""Segment's analytics: events only."""

from __future__ import annotations

from pathlib import Path

from segment.analytics.client import Client  # type: ignore[import-not-found]

from .contract import CONTEXT, DEFAULTS

QUEUE = 200_000
"""Its own default of 10,000 drops the newest events beyond it."""


class Segment:
    def __init__(self, url: str, **limits: int) -> None:
        self._client = Client("wk", host=url, **limits)
        self.close = self._client.shutdown

    def record(self, user: str) -> object:
        # It mints a messageId by itself.
        return self._client.track(
            user_id=user,
            event="Viewed",
            properties=dict(CONTEXT),
        )

    def flush(self) -> object:
        return self._client.flush()


def peer(url: str, directory: Path, variant: str) -> Segment:
    limits = {} if variant == DEFAULTS else {"max_queue_size": QUEUE}
    return Segment(url, **limits)
