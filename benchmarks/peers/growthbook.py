"""GrowthBook's async client with remote evaluation: the one peer with a read cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import growthbook  # type: ignore[import-not-found]
from growthbook.growthbook_client import GrowthBookClient  # type: ignore[import-not-found]

from .contract import KEY


class Growthbook:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None

    async def page(self, user: str, reads: int) -> object:
        if self._client is None:
            options = growthbook.Options(
                api_host=self._url,
                client_key="sdk",
                remote_eval=True,
                refresh_strategy=None,
                cache_ttl=60,
                stale_ttl=10,
            )
            self._client = GrowthBookClient(options)
            await self._client.initialize()
        visitor = growthbook.UserContext(attributes={"id": user})
        for _ in range(reads):
            value = await self._client.eval_feature(KEY, visitor)
        return value.value


def peer(url: str, directory: Path, variant: str) -> Growthbook:
    return Growthbook(url)
