"""Commands find their server in a cluster and behind sentinels, while these change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import RedisError

from moe_middleware.network.redis import RedisClients

from ..redis_servers import redis_server
from ..redis_topologies import Cluster, Pair, Sentinels, command, redis_cluster
from ..servers import PATIENCE

Connect = Callable[..., RedisClients]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[RedisClients] = []

    def one(url: str, timeout: float = 5.0, patience: float = PATIENCE) -> RedisClients:
        clients = RedisClients(
            url, where="cache.redis", timeout=timeout, patience=patience
        )
        made.append(clients)
        return clients

    yield one
    for clients in made:
        await clients.aclose()


@pytest.fixture(params=["cluster", "sentinels"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


async def answer(clients: RedisClients, *words: object) -> Any:
    """Return the answer to a command whose second word is its key."""
    [found] = await clients.ask(str(words[1]), [words])
    return found


async def answer_in_time(clients: RedisClients, *words: object) -> Any:
    """Return it once there is one, whatever fails in between."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await answer(clients, *words)
            except (RedisError, OSError):
                await asyncio.sleep(0.05)


async def test_every_key_of_a_cluster_finds_its_server(
    cluster: Cluster, connect: Connect
) -> None:
    clients = connect(cluster.url)
    name = cluster.name()
    keys = [f"{name}-{number}" for number in range(60)]

    stored = await asyncio.gather(*(answer(clients, "SET", key, key) for key in keys))
    found = [await answer(clients, "GET", key) for key in keys]

    assert stored == [b"OK"] * 60
    assert found == [key.encode() for key in keys]
    assert len({key_slot(key.encode()) * 3 // 16_384 for key in keys}) == 3


async def test_a_slot_that_has_moved_is_found_again(
    cluster: Cluster, connect: Connect
) -> None:
    clients, other = connect(cluster.url), cluster.primaries[1]
    key = cluster.name()
    slot, source = key_slot(key.encode()), cluster.primary
    await answer(clients, "SET", key, "there")

    cluster.move(slot, source, other)
    cluster.move_keys(slot, source, other)
    # The key is gone from where the slot still is.
    redirected = await answer(clients, "GET", key)
    cluster.moved(slot, other)
    moved = await answer(clients, "GET", key)
    cluster.move(slot, other, source)
    cluster.move_keys(slot, other, source)
    cluster.moved(slot, source)

    assert (redirected, moved) == (b"there", b"there")
    assert await answer(clients, "GET", key) == b"there"


async def test_keys_that_are_between_two_servers_are_waited_for(
    cluster: Cluster, connect: Connect
) -> None:
    clients, other = connect(cluster.url), cluster.primaries[1]
    hasty = connect(cluster.url, patience=0.05)
    tag = cluster.name()
    slot, source = key_slot(tag.encode()), cluster.primary
    one, two = f"{{{tag}}}1", f"{{{tag}}}2"
    await clients.ask(one, [("SET", one, 1), ("SET", two, 2)])

    cluster.move(slot, source, other)
    where = ("127.0.0.1", other.port, one, 0, 5000)
    command(source, "MIGRATE", *where)
    gave_up = await answer(hasty, "MGET", one, two)
    waiting = asyncio.ensure_future(answer(clients, "MGET", one, two))
    both = threading.Timer(0.1, lambda: cluster.move_keys(slot, source, other))
    both.start()
    found = await waiting
    both.join()
    cluster.moved(slot, other)
    cluster.move(slot, other, source)
    cluster.move_keys(slot, other, source)
    cluster.moved(slot, source)

    assert type(gave_up).__name__ == "TryAgainError"
    assert found == [b"1", b"2"]


async def test_a_slot_that_no_server_has_is_waited_for(
    tmp_path: Path, connect: Connect
) -> None:
    with redis_cluster(tmp_path, primaries=1) as cluster:
        [server], slot = cluster.primaries, key_slot(b"key")
        command(server, "CLUSTER", "DELSLOTS", slot)
        waiting = asyncio.ensure_future(answer(connect(cluster.url), "ECHO", "key"))
        with pytest.raises(RedisError, match=f"has slot {slot}: see CLUSTER INFO"):
            await answer(connect(cluster.url, patience=0.05), "ECHO", "key")
        command(server, "CLUSTER", "ADDSLOTS", slot)

        assert await waiting == b"key"


async def test_after_a_failover_the_new_primary_answers(
    pair: Pair, connect: Connect
) -> None:
    clients, key = connect(pair.url), pair.name()
    [stored, replicas] = await clients.ask(
        key, [("SET", key, "kept"), ("WAIT", 1, 5_000)]
    )

    killed = pair.kill_primary()
    found = await answer_in_time(clients, "GET", key)
    changed = await answer_in_time(clients, "SET", key, "new")
    pair.heal(killed)

    assert (stored, replicas) == (b"OK", 1)
    assert (found, changed) == (b"kept", b"OK")
    assert await answer(clients, "GET", key) == b"new"


async def test_after_a_planned_failover_the_former_primary_is_left(
    pair: Pair, connect: Connect
) -> None:
    """Behind sentinels it is a primary for ten more seconds, and takes commands."""
    clients, key = connect(pair.url), pair.name()
    await answer(clients, "SET", key, 1)
    await asyncio.to_thread(pair.wait_until_whole)

    former = await asyncio.to_thread(pair.fail_over)
    port = b"%d" % pair.other_than(former).port
    async with asyncio.timeout(PATIENCE):
        while (await clients.ask(key, [("CONFIG", "GET", "port")]))[0][1] != port:
            # A cluster's server does not pass on commands without a key.
            await answer(clients, "GET", key)
            await asyncio.sleep(0.05)
    await asyncio.to_thread(pair.heal, former)

    assert await answer(clients, "GET", key) == b"1"


async def test_a_sentinel_that_hangs_is_passed_over(
    sentinels: Sentinels, tmp_path: Path, connect: Connect
) -> None:
    with redis_server(tmp_path) as hung:
        hung.hang()
        url = sentinels.url.replace("//", f"//127.0.0.1:{hung.port},")
        clients = connect(url, timeout=0.3)

        found = [await answer(clients, "ECHO", "here") for _ in range(2)]
        hung.resume()

    assert found == [b"here"] * 2


async def test_a_server_whose_replicas_are_missing_is_waited_for(
    tmp_path: Path, connect: Connect
) -> None:
    with redis_server(tmp_path, "--min-replicas-to-write", "1") as server:
        waiting = asyncio.ensure_future(answer(connect(server.url), "INCR", "key"))
        hasty = await answer(connect(server.url, patience=0.05), "INCR", "key")
        command(server, "CONFIG", "SET", "min-replicas-to-write", 0)

        assert "NOREPLICAS" in str(hasty)
        assert await waiting == 1


async def test_a_server_that_reads_its_data_is_waited_for(
    tmp_path: Path, connect: Connect
) -> None:
    with redis_server(tmp_path, aof=True) as server:
        clients = connect(server.url)
        await clients.ask("", [("SET", number, "kept") for number in range(4_000)])
        server.restart_slowly()

        assert await answer(connect(server.url), "GET", "3999") == b"kept"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("redis+sentinel://127.0.0.1:{sentinel}/other", "know no service 'other'"),
        ("redis+sentinel://127.0.0.1:1/mymaster", "127.0.0.1:1"),
        ("redis+cluster://127.0.0.1:{single}", "cluster support disabled"),
        ("redis+cluster://127.0.0.1:1,127.0.0.1:2", "127.0.0.1:"),
        ("redis+sentinel://127.0.0.1:{single}/mymaster", "SENTINEL"),
    ],
)
async def test_what_cannot_be_found_is_an_error_that_names_it(
    sentinels: Sentinels, connect: Connect, url: str, error: str
) -> None:
    ports = {"sentinel": sentinels.sentinel.port, "single": sentinels.primary.port}
    clients = connect(url.format(**ports))

    with pytest.raises(RedisError) as caught:
        await answer(clients, "GET", "key")

    assert error in str(caught.value)
