"""How processes and hosts share one fetch through the cache that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from .leases import Entry, Lease
from .redis import RedisCache

Fetch = Callable[[tuple[str, ...]], Awaitable[Mapping[str, bytes]]]
"""Fetches keys from the API; returns the encoded answers by key."""

WAIT_FACTOR = 2.0
"""A follower waits for this many leases: the leader may die, and its successor needs
time too."""


async def fetch_once(
    cache: RedisCache,
    visitor: bytes,
    variant: bytes,
    keys: Iterable[str],
    generation: bytes | None,
    fetch: Fetch,
    *,
    for_seconds: float,
) -> dict[str, Entry]:
    """Fetch the keys that no other process is fetching; return the others' answers.

    One process at a time fetches a key. If its fetch fails or it dies, a follower
    fetches instead; one call of this function fetches no key twice. The answers of
    ``fetch`` are stored, not returned: the caller has them.

    Args:
        generation: As ``cache.get`` returned it.
        fetch: Must not raise; it leaves out the keys that it could not fetch.
        for_seconds: The most time that one ``fetch`` takes, in seconds.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + for_seconds * WAIT_FACTOR
    found: dict[str, Entry] = {}
    left = tuple(keys)
    while left and (for_followers := until - clock()) > 0:
        lease = await cache.lead(
            visitor, variant, left, generation, for_seconds=for_seconds
        )
        found |= lease.entries
        left = lease.others
        if not left:
            await _fetch(cache, visitor, variant, lease, fetch)
            break
        _, came = await asyncio.gather(
            _fetch(cache, visitor, variant, lease, fetch),
            cache.follow(visitor, variant, left, lease.called, timeout=for_followers),
        )
        found |= came.entries
        generation = came.generation
        left = tuple(key for key in left if key not in found)
    return found


async def _fetch(
    cache: RedisCache, visitor: bytes, variant: bytes, lease: Lease, fetch: Fetch
) -> None:
    bodies: Mapping[str, bytes] = {}
    try:
        if lease.keys:
            bodies = await fetch(lease.keys)
    finally:
        cache.finish(visitor, variant, lease, bodies)
