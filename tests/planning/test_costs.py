"""The plan's costs beside the stores themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from moe_middleware.cache import MemoryCache
from moe_middleware.cache.encoding import encode
from moe_middleware.cache.fetch_sharing import fetch_once
from moe_middleware.cache.keys import key_of_ids, variant_key
from moe_middleware.cache.redis import RedisCache
from moe_middleware.outbox import open_outbox
from moe_middleware.planning import costs
from moe_middleware.planning.site import Setup
from moe_middleware.settings.sections import EventSettings

from ..makers import event, experience
from ..redis_servers import RedisServer, redis_server

VISITORS, EVENTS = 1_000, 2_000
VARIANT = variant_key({})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def store(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as store:
        store.flushall()
        yield store


@pytest.mark.parametrize("keys", [1, 4])
async def test_a_fetch_that_hosts_share_has_the_commands_that_a_plan_counts(
    keys: int, server: RedisServer, store: redis.Redis
) -> None:
    cache = RedisCache(server.url, workspace_id="W1", ttl=60, stale=60, timeout=5)
    await cache.warm()
    body = encode(experience(Text="x" * 200))
    names = [f"experience-{number}" for number in range(keys)]

    async def fetch(wanted: tuple[str, ...]) -> dict[str, bytes]:
        return dict.fromkeys(wanted, body)

    async def visit(number: int) -> None:
        visitor = key_of_ids(f"customer-{number}", None, {})
        found = await cache.get(visitor, VARIANT, names)
        await fetch_once(
            cache, visitor, VARIANT, names, found.generation, fetch, for_seconds=5
        )
        await cache.settle()

    await visit(-1)  # brings the script
    bytes_before, sent_before = used(store), commands(store)
    for number in range(VISITORS):
        await visit(number)
    sent = commands(store) - sent_before
    taken = used(store) - bytes_before
    await cache.aclose()

    lookup, shared = costs.redis_lookup(keys), costs.redis_store(keys)
    assert sent / VISITORS == pytest.approx(lookup[0] + shared[0], abs=0.05)
    each = taken / VISITORS / keys
    assert each == pytest.approx(costs.REDIS_ENTRY_BYTES + len(body), rel=0.25)


def test_an_event_takes_the_bytes_that_a_plan_counts(
    server: RedisServer, store: redis.Redis, tmp_path: Path
) -> None:
    file, before = tmp_path / "events.db", used(store)

    fill(f"sqlite:///{file}", tmp_path)
    fill(server.url, tmp_path)

    in_file = file.stat().st_size / EVENTS
    in_redis = (used(store) - before) / EVENTS
    assert in_file == pytest.approx(costs.SQLITE_EVENT_BYTES, rel=0.25)
    assert in_redis == pytest.approx(costs.REDIS_EVENT_BYTES, rel=0.25)


def fill(url: str, folder: Path) -> None:
    """Store events of as many customers."""
    settings = EventSettings.model_validate({"outbox": url, "journal": str(folder)})
    outbox = open_outbox(settings, workspace_id="W1")
    for number in range(EVENTS):
        outbox.append([event(f"customer-{number}")])
    outbox.close(timeout=60)


@pytest.mark.parametrize("keys", [1, 2, 25])
def test_a_visitors_bytes_are_those_of_answers_that_many_have(keys: int) -> None:
    cache = MemoryCache(ttl=60, stale=0, max_entries=10**6, max_bytes=2**40)
    answers = [experience(f"key-{number}", Text="x" * 200) for number in range(keys)]
    # At their second sighting the cache sees that many visitors have these answers.
    for number in range(10):
        cache.put(key_of_ids(f"first-{number}", None, {}), VARIANT, answers)
    before = cache.size

    for number in range(VISITORS):
        cache.put(key_of_ids(f"customer-{number}", None, {}), VARIANT, answers)

    each = (cache.size - before) / VISITORS
    assert each == pytest.approx(costs.visitor_bytes(keys), abs=1)


def test_a_relay_delivers_no_more_than_its_cpu_can() -> None:
    assert Setup(parallel=8).relay_bears < costs.RELAY_CPU_EVENTS
    assert Setup(parallel=10_000).relay_bears == costs.RELAY_CPU_EVENTS


def commands(store: redis.Redis) -> int:
    """Return how many commands of a cache were sent, without those of its script."""
    about: Any = store.info("commandstats")
    ours = {"mget", "set", "pexpire", "eval"}
    return sum(
        one["calls"]
        for name, one in about.items()
        if name.removeprefix("cmdstat_") in ours
    )


def used(store: redis.Redis) -> int:
    """Return the memory of a Redis's data."""
    about: Any = store.info("memory")
    return int(about["used_memory_dataset"])
