"""Amplitude's Experiment and Analytics: a blocking call for every read."""

from __future__ import annotations

import uuid
from pathlib import Path

import amplitude  # type: ignore[import-not-found]
import amplitude_experiment  # type: ignore[import-not-found]

from .contract import CONTEXT, KEY

POOL = 50
"""Its own default of one connection makes concurrent fetches wait for one another."""


class Amplitude:
    def __init__(self, url: str) -> None:
        config = amplitude_experiment.RemoteEvaluationConfig(
            server_url=url,
            fetch_timeout_millis=5_000,
            connection_pool_max_size=POOL,
        )
        self._experiment = amplitude_experiment.Experiment.initialize_remote(
            "key", config
        )
        self._analytics = amplitude.Amplitude(
            "key", amplitude.Config(server_url=f"{url}/2/httpapi")
        )
        self.close = self._analytics.shutdown

    def page(self, user: str, reads: int) -> object:
        for _ in range(reads):
            variants = self._experiment.fetch_v2(
                amplitude_experiment.User(user_id=user)
            )
            value = variants[KEY].value
        return value

    def record(self, user: str) -> object:
        return self._analytics.track(
            amplitude.BaseEvent(
                event_type="Viewed",
                user_id=user,
                insert_id=str(uuid.uuid4()),
                event_properties=dict(CONTEXT),
            )
        )

    def flush(self) -> object:
        for future in self._analytics.flush():
            if future is not None:
                future.result()
        return None


def peer(url: str, directory: Path, variant: str) -> Amplitude:
    return Amplitude(url)
