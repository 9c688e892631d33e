"""Flagsmith with remote evaluation: a blocking call for every read."""

from __future__ import annotations

from pathlib import Path

import flagsmith  # type: ignore[import-not-found]

from .contract import KEY


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


def peer(url: str, directory: Path, variant: str) -> Flagsmith:
    return Flagsmith(url)
