"""Caches of the API's answers: in the process's memory, and shared in Redis."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from ..models.observers import Observer
from ..settings.settings import Settings
from .keys import key_of_ids, variant_key, visitor_key
from .memory import MemoryCache

if TYPE_CHECKING:
    from .redis import RedisCache

__all__ = [
    "MemoryCache",
    "key_of_ids",
    "open_shared_cache",
    "variant_key",
    "visitor_key",
]


def open_shared_cache(settings: Settings, observer: Observer) -> RedisCache | None:
    """Return the cache that processes share, if the settings name one.

    Nothing is opened yet.

    Raises:
        SettingsError: The redis package is missing.
    """
    cache = settings.cache
    # Without a ttl nothing would be fresh when another process asks.
    if cache.redis is None or cache.ttl == 0:
        return None
    from .redis import RedisCache

    # Configurations that encode the same answer differently must not share keys.
    shape = f"{settings.workspace.url} {settings.fetch.payload_values}".encode()
    digest = blake2b(shape, digest_size=4).hexdigest()
    return RedisCache(
        cache.redis.get_secret_value(),
        workspace_id=f"{settings.workspace.id}.{digest}",
        ttl=cache.ttl,
        stale=cache.stale,
        timeout=cache.redis_timeout,
        observer=observer,
    )
