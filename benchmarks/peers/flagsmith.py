"""Flagsmith with remote evaluation: a blocking call for every read; and its events."""

from __future__ import annotations

from pathlib import Path

import flagsmith  # type: ignore[import-not-found]
from flagsmith.analytics import EventProcessorConfig  # type: ignore[import-not-found]

from .contract import CONTEXT, DEFAULTS, KEY


class Flagsmith:
    def __init__(self, url: str) -> None:
        self._client = flagsmith.Flagsmith(
            environment_key="env", api_url=f"{url}/api/v1/", request_timeout_seconds=5
        )

    def page(self, user: str, reads: int) -> object:
        for _ in range(reads):
            flags = self._client.get_identity_flags(user)
            value = flags.get_feature_value(KEY)
        return value


class Events:
    def __init__(self, url: str) -> None:
        self._client = flagsmith.Flagsmith(
            environment_key="env",
            api_url=f"{url}/api/v1/",
            enable_events=True,
            event_processor_config=EventProcessorConfig(events_api_url=url),
        )
        # It has no call of its own for this; its atexit runs the processor's.
        self.close = self._client._event_processor.stop

    def record(self, user: str) -> object:
        return self._client.track_exposure_event(
            KEY, identifier=user, value="on", metadata=dict(CONTEXT)
        )


def peer(url: str, directory: Path, variant: str) -> Flagsmith | Events:
    return Events(url) if variant == DEFAULTS else Flagsmith(url)
