"""The shared cache in a cluster whose servers fail."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from moe_middleware.cache.redis import RedisCache

from ..redis_topologies import Cluster, redis_cluster
from ..servers import PATIENCE

VARIANT = b"s" * 8
BODIES = {"hero": b"{}", "strip": b"[]"}


def visitors(count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(count)]


async def keep(cache: RedisCache, visitor: bytes) -> None:
    """Store answers as a fetch does."""
    known = await cache.get(visitor, VARIANT, BODIES)
    lease = await cache.lead(
        visitor, VARIANT, BODIES.keys(), known.generation, for_seconds=30
    )
    assert lease.keys == tuple(BODIES)
    cache.finish(visitor, VARIANT, lease, BODIES)
    await cache.settle()


async def kept(cache: RedisCache, visitor: bytes) -> dict[str, bytes]:
    found = await cache.get(visitor, VARIANT, BODIES)
    return {key: body for key, (_, body) in found.entries.items()}


async def test_a_failover_costs_pages_their_cache_and_nothing_else(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    some = visitors(9)
    cache = RedisCache(
        cluster.url, workspace_id=cluster.name(), ttl=60, stale=600, timeout=3.0
    )
    await cache.warm()
    killed = await asyncio.to_thread(cluster.kill_primary)

    # Pages go on meanwhile: without an answer, and none raises.
    failover = asyncio.ensure_future(
        asyncio.to_thread(cluster.wait_for_failover, killed)
    )
    while not failover.done():
        for visitor in some:
            await kept(cache, visitor)
        await asyncio.sleep(0.02)
    async with asyncio.timeout(PATIENCE):
        while not all([await cache.forget(visitor) for visitor in some]):
            await asyncio.sleep(0.02)
    for visitor in some:
        await keep(cache, visitor)
    found = [await kept(cache, visitor) for visitor in some]
    await asyncio.to_thread(cluster.heal, killed)
    await cache.aclose()

    assert found == [BODIES] * 9
    events = [line.split()[0] for line in caplog.messages]
    assert events in ([], ["shared_cache_down", "shared_cache_back"])


async def test_visitors_of_a_hung_server_do_not_all_wait_for_it(
    tmp_path: Path,
) -> None:
    """Until the cluster replaces it, or for good if nothing can."""
    some = visitors(300)
    timeout = 0.2
    with redis_cluster(tmp_path, node_timeout=60_000) as cluster:
        cache = RedisCache(
            cluster.url, workspace_id=cluster.name(), ttl=60, stale=600, timeout=timeout
        )
        await cache.warm()
        async with asyncio.timeout(PATIENCE):
            while not all([await cache.forget(visitor) for visitor in some[:60]]):
                await asyncio.sleep(0.02)
        cluster.primaries[1].hang()
        began = time.monotonic()
        for visitor in some:
            await cache.get(visitor, VARIANT, BODIES)
        took = time.monotonic() - began
        cluster.primaries[1].resume()
        async with asyncio.timeout(PATIENCE):
            while not all([await cache.forget(visitor) for visitor in some[:60]]):
                await asyncio.sleep(0.02)
        await cache.aclose()

    # About a hundred of them are its visitors.
    assert took < 50 * timeout
