"""The shared cache against real servers that answer, hang, die, refuse and return."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from moe_middleware.cache.fetch_sharing import fetch_once
from moe_middleware.cache.guarded_redis import FAILURES_IN_A_ROW
from moe_middleware.cache.redis import RedisCache
from moe_middleware.models.ids import new_id

from ..redis_servers import VALKEY, RedisServer, redis_server
from ..servers import PATIENCE

VISITOR, VARIANT = b"v" * 16, b"s" * 8
TTL, STALE = 60.0, 600.0
BODY = b'[{"Title":"Sale"},{}]'
SERVERS: dict[str, dict[str, Any]] = {
    "redis": {},
    "valkey": {"binary": VALKEY},
    "tls": {"tls": True, "password": "sesame"},
}


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Shared by all tests that leave it alone: each has a workspace of its own."""
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder, **SERVERS[getattr(request, "param", "redis")]) as running:
        yield running


on_every_server = pytest.mark.parametrize("server", SERVERS, indirect=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    with redis_server(tmp_path) as running:
        yield running


class Caches:
    """Caches of one workspace, as processes have them, and their clocks."""

    def __init__(self) -> None:
        self.workspace_id = new_id()
        self.now = 1_000_000.0
        self.stopwatch = 0.0
        self.made: list[RedisCache] = []

    def __call__(self, server: RedisServer, **options: Any) -> RedisCache:
        given = {"timeout": PATIENCE, "clock": lambda: self.now, **options}
        cache = RedisCache(
            server.url,
            workspace_id=self.workspace_id,
            ttl=TTL,
            stale=STALE,
            stopwatch=lambda: self.stopwatch,
            **given,
        )
        self.made.append(cache)
        return cache


@pytest.fixture
async def caches() -> AsyncIterator[Caches]:
    made = Caches()
    yield made
    for cache in made.made:
        await cache.aclose()


async def keep(
    cache: RedisCache, bodies: Mapping[str, bytes], variant: bytes = VARIANT
) -> None:
    """Store answers as a fetch does."""
    known = await cache.get(VISITOR, variant, bodies)
    lease = await cache.lead(
        VISITOR, variant, bodies.keys(), known.generation, for_seconds=30
    )
    cache.finish(VISITOR, variant, lease, bodies)
    await cache.settle()


async def bodies_of(
    cache: RedisCache, *keys: str, variant: bytes = VARIANT
) -> dict[str, bytes]:
    found = await cache.get(VISITOR, variant, keys)
    return {key: body for key, (_, body) in found.entries.items()}


async def answers(cache: RedisCache) -> bool:
    """Whether Redis answers; the sooner, the longer ago the last failure was."""
    return (await cache.get(VISITOR, VARIANT, ["hero"])).generation is not None


async def until_it_answers(cache: RedisCache, caches: Caches) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await answers(cache):
            caches.stopwatch += 60
            await asyncio.sleep(0.01)


def raw(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url)


# What it keeps


@on_every_server
async def test_answers_come_back_on_another_host(
    server: RedisServer, caches: Caches
) -> None:
    await keep(caches(server), {"hero": BODY, "promo": b""})

    found = await caches(server).get(VISITOR, VARIANT, ["hero", "promo", "other"])

    assert found.entries == {"hero": (TTL, BODY), "promo": (TTL, b"")}


async def test_visitors_variants_and_workspaces_are_kept_apart(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    await keep(cache, {"hero": BODY})

    caches.workspace_id = new_id()
    other_workspace = await caches(server).get(VISITOR, VARIANT, ["hero"])
    other_visitor = await cache.get(b"w" * 16, VARIANT, ["hero"])
    other_split = await cache.get(VISITOR, b"t" * 8, ["hero"])

    assert not other_workspace.entries
    assert not other_visitor.entries
    assert not other_split.entries


async def test_an_answer_is_fresh_then_stale_then_gone(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    await keep(cache, {"hero": BODY})

    times = []
    for seconds in (50.0, 20.0, 580.0, 20.0):
        caches.now += seconds
        found = await cache.get(VISITOR, VARIANT, ["hero"])
        times += [fresh_for for fresh_for, _ in found.entries.values()]

    assert times == [10.0, -10.0, -590.0]


async def test_a_host_whose_clock_is_ahead_makes_nothing_last_longer(
    server: RedisServer, caches: Caches
) -> None:
    ahead = caches(server, clock=lambda: caches.now + 3600)
    await keep(ahead, {"hero": BODY})

    found = await caches(server).get(VISITOR, VARIANT, ["hero"])

    assert found.entries["hero"] == (TTL, BODY)


async def test_everything_in_redis_expires_by_itself(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    await keep(cache, {"hero": BODY})
    await cache.forget(VISITOR)
    await keep(cache, {"hero": BODY})
    await cache.lead(VISITOR, VARIANT, ["promo"], b"12345678", for_seconds=30)

    with raw(server) as connection:
        names = list(connection.scan_iter(f"moe:{caches.workspace_id}:*"))
        lifetimes = [int(str(connection.ttl(name))) for name in names]

    assert len(names) == 3
    # In a cluster, one server has all that belongs to a visitor.
    assert len({key_slot(name) for name in names}) == 1
    assert all(0 < lifetime <= TTL + STALE + 60 for lifetime in lifetimes)


async def test_what_was_forgotten_is_known_longer_than_any_answer(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    await cache.forget(VISITOR)
    with raw(server) as connection:
        [name] = connection.scan_iter(f"moe:{caches.workspace_id}:*")
        connection.expire(name, 5)

    await keep(cache, {"hero": BODY})

    with raw(server) as connection:
        assert int(str(connection.ttl(name))) > TTL + STALE


@pytest.mark.parametrize(
    "value",
    [b"", b"\x01", b"\x02" + bytes(16) + BODY, b"hello, I am somebody else's"],
    ids=["nothing", "cut off", "another version", "foreign"],
)
async def test_a_value_that_is_not_ours_is_a_miss_and_is_overwritten(
    server: RedisServer, caches: Caches, value: bytes
) -> None:
    cache = caches(server)
    await keep(cache, {"hero": BODY})
    with raw(server) as connection:
        [name] = connection.scan_iter(f"moe:{caches.workspace_id}:*hero")
        connection.set(name, value)

    before = await bodies_of(cache, "hero")
    await keep(cache, {"hero": BODY})

    assert before == {}
    assert await bodies_of(cache, "hero") == {"hero": BODY}


# Forgetting


@on_every_server
async def test_forgetting_drops_a_visitor_in_every_split(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    await keep(cache, {"hero": BODY})
    await keep(cache, {"hero": BODY}, variant=b"t" * 8)

    assert await caches(server).forget(VISITOR)

    assert await bodies_of(cache, "hero") == {}
    assert await bodies_of(cache, "hero", variant=b"t" * 8) == {}
    await keep(cache, {"hero": b"new"})
    assert await bodies_of(cache, "hero") == {"hero": b"new"}


async def test_an_answer_that_was_under_way_is_forgotten_too(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    known = await cache.get(VISITOR, VARIANT, ["hero"])
    lease = await cache.lead(
        VISITOR, VARIANT, ["hero"], known.generation, for_seconds=30
    )

    await cache.forget(VISITOR)
    cache.finish(VISITOR, VARIANT, lease, {"hero": BODY})
    await cache.settle()

    assert await bodies_of(cache, "hero") == {}


async def test_no_page_waits_for_a_fetch_that_is_forgotten_already(
    server: RedisServer, caches: Caches
) -> None:
    cache = caches(server)
    known = await cache.get(VISITOR, VARIANT, ["hero"])
    await cache.lead(VISITOR, VARIANT, ["hero"], known.generation, for_seconds=30)

    await cache.forget(VISITOR)
    known = await cache.get(VISITOR, VARIANT, ["hero"])
    lease = await cache.lead(
        VISITOR, VARIANT, ["hero"], known.generation, for_seconds=30
    )

    assert lease.keys == ("hero",)


# One fetch for all


class Calls:
    """The API: answers when a test lets it, and remembers its calls."""

    def __init__(self) -> None:
        self.requested: list[tuple[str, ...]] = []
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, keys: tuple[str, ...]) -> Mapping[str, bytes]:
        self.requested.append(keys)
        self.arrived.set()
        await self.may_answer.wait()
        return dict.fromkeys(keys, BODY)


async def ask(
    cache: RedisCache, keys: list[str], fetch: Any, *, for_seconds: float = 30
) -> list[str]:
    """Return what came from others."""
    known = await cache.get(VISITOR, VARIANT, keys)
    found = await fetch_once(
        cache,
        *(VISITOR, VARIANT, keys, known.generation, fetch),
        for_seconds=for_seconds,
    )
    return sorted(found)


@pytest.mark.parametrize("known", [{}, {"hero": b"old"}], ids=["unknown", "stale"])
async def test_a_follower_gets_what_the_leader_fetched(
    server: RedisServer, caches: Caches, known: dict[str, bytes]
) -> None:
    await keep(caches(server), known)
    caches.now += TTL + 1
    calls, never = Calls(), Calls()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        leader = group.create_task(ask(caches(server), ["hero"], calls))
        await calls.arrived.wait()
        follower = group.create_task(ask(caches(server), ["hero"], never))
        await asyncio.sleep(0.05)
        calls.may_answer.set()

    assert (leader.result(), follower.result()) == ([], ["hero"])
    assert (calls.requested, never.requested) == ([("hero",)], [])
    assert await bodies_of(caches(server), "hero") == {"hero": BODY}


async def test_a_first_visit_that_reaches_many_processes_at_once_costs_one_call(
    server: RedisServer, caches: Caches
) -> None:
    fetched: list[str] = []

    async def fetch(keys: tuple[str, ...]) -> Mapping[str, bytes]:
        fetched.extend(keys)
        await asyncio.sleep(0.05)
        return dict.fromkeys(keys, BODY)

    await asyncio.gather(
        *(ask(caches(server), ["a", "b", "c"][one % 2 :], fetch) for one in range(10))
    )

    assert sorted(fetched) == ["a", "b", "c"]


async def test_overlapping_keys_are_each_fetched_once(
    server: RedisServer, caches: Caches
) -> None:
    first, second = Calls(), Calls()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(ask(caches(server), ["a", "b"], first))
        await first.arrived.wait()
        late = group.create_task(ask(caches(server), ["b", "c"], second))
        await second.arrived.wait()
        second.may_answer.set()
        first.may_answer.set()

    assert late.result() == ["b"]
    assert (first.requested, second.requested) == ([("a", "b")], [("c",)])


async def test_an_answer_that_came_just_now_is_not_fetched_again(
    server: RedisServer, caches: Caches
) -> None:
    cache, never = caches(server), Calls()
    known = await cache.get(VISITOR, VARIANT, ["hero"])
    await keep(caches(server), {"hero": BODY})

    found = await fetch_once(
        cache, VISITOR, VARIANT, ["hero"], known.generation, never, for_seconds=30
    )
    await cache.settle()

    assert found == {"hero": (TTL, BODY)}
    assert never.requested == []
    with raw(server) as connection:
        assert not list(connection.scan_iter(f"moe:{caches.workspace_id}:l:*"))


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
async def test_a_follower_takes_over_as_soon_as_the_leader_gives_up(
    server: RedisServer, caches: Caches, end: str
) -> None:
    calls, second = Calls(), Calls()
    second.may_answer.set()

    async def fail(keys: tuple[str, ...]) -> Mapping[str, bytes]:
        await calls(keys)
        return {}

    # The lease alone would last longer than this test may.
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        leader = group.create_task(ask(caches(server), ["hero"], fail, for_seconds=300))
        await calls.arrived.wait()
        group.create_task(ask(caches(server), ["hero"], second, for_seconds=300))
        await asyncio.sleep(0.05)
        if end == "fails":
            calls.may_answer.set()
        else:
            leader.cancel()

    assert leader.cancelled() is (end == "is cancelled")
    assert second.requested == [("hero",)]


async def test_a_follower_takes_over_from_a_leader_that_died(
    server: RedisServer, caches: Caches
) -> None:
    dead, second = caches(server), Calls()
    second.may_answer.set()
    known = await dead.get(VISITOR, VARIANT, ["hero"])
    await dead.lead(VISITOR, VARIANT, ["hero"], known.generation, for_seconds=0.3)

    async with asyncio.timeout(PATIENCE):
        await ask(caches(server), ["hero"], second)

    assert second.requested == [("hero",)]


async def test_a_lease_that_ran_out_is_not_taken_from_its_next_holder(
    server: RedisServer, caches: Caches
) -> None:
    slow, quick, third = caches(server), caches(server), caches(server)
    generation = (await slow.get(VISITOR, VARIANT, ["hero"])).generation
    late = await slow.lead(VISITOR, VARIANT, ["hero"], generation, for_seconds=0.001)
    async with asyncio.timeout(PATIENCE):
        while not (
            await quick.lead(VISITOR, VARIANT, ["hero"], generation, for_seconds=60)
        ).keys:
            await asyncio.sleep(0.01)

    slow.finish(VISITOR, VARIANT, late, {})
    await slow.settle()
    lease = await third.lead(VISITOR, VARIANT, ["hero"], generation, for_seconds=60)

    assert (lease.keys, lease.others) == ((), ("hero",))


# When Redis fails


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message.split()[0] for record in caplog.records]


async def test_killed_and_back_it_is_missed_for_a_while_and_says_so_once(
    own_server: RedisServer, caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    cache, calls = caches(own_server), Calls()
    calls.may_answer.set()
    await keep(cache, {"hero": BODY})

    own_server.kill()
    caches.stopwatch += 2 * PATIENCE
    for _ in range(3 * FAILURES_IN_A_ROW):
        assert not await answers(cache)
    await ask(cache, ["hero"], calls)
    own_server.restart()
    await until_it_answers(cache, caches)

    assert calls.requested == [("hero",)]
    assert await bodies_of(cache, "hero") == {}
    await keep(cache, {"hero": BODY})
    assert await bodies_of(cache, "hero") == {"hero": BODY}
    assert lines(caplog) == ["shared_cache_down", "shared_cache_back"]


async def test_restarted_between_two_pages_it_costs_no_page_its_answer(
    own_server: RedisServer, caches: Caches
) -> None:
    cache = caches(own_server)
    await keep(cache, {"hero": BODY})

    own_server.restart()
    await asyncio.sleep(0.01)  # for the event loop to learn of it

    assert await answers(cache)


async def test_hung_it_delays_few_pages_and_then_none(
    own_server: RedisServer, caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    cache = caches(own_server, timeout=0.2)
    await until_it_answers(cache, caches)
    own_server.hang()
    caches.stopwatch += 60

    started = time.monotonic()
    for _ in range(FAILURES_IN_A_ROW):
        assert not await answers(cache)
    until_open = time.monotonic() - started
    for _ in range(1000):  # that would be 200 seconds
        assert not await answers(cache)
    after = time.monotonic() - started - until_open
    own_server.resume()
    await until_it_answers(cache, caches)

    # Those behind the first one do not wait as well.
    assert until_open >= 0.9 * 0.2
    assert until_open < 10 * FAILURES_IN_A_ROW * 0.2
    assert after < PATIENCE
    assert lines(caplog) == ["shared_cache_down", "shared_cache_back"]


async def test_hung_while_a_page_follows_it_fetches_alone(
    own_server: RedisServer, caches: Caches
) -> None:
    leader, follower = caches(own_server), caches(own_server, timeout=0.2)
    calls, alone = Calls(), Calls()
    alone.may_answer.set()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        asking = group.create_task(ask(leader, ["hero"], calls))
        await calls.arrived.wait()
        await until_it_answers(follower, caches)
        group.create_task(ask(follower, ["hero"], alone))
        await asyncio.sleep(0.05)
        own_server.hang()
        await alone.arrived.wait()
        calls.may_answer.set()
        own_server.resume()

    assert asking.result() == []
    assert alone.requested == [("hero",)]


async def test_a_lease_that_came_too_late_is_given_back(
    own_server: RedisServer, caches: Caches
) -> None:
    cache = caches(own_server, timeout=0.2)
    await until_it_answers(cache, caches)
    own_server.hang()
    lease = await cache.lead(VISITOR, VARIANT, ["hero"], bytes(8), for_seconds=300)
    own_server.resume()
    await cache.settle()
    with raw(own_server) as connection:
        taken = list(connection.scan_iter("moe:*:l:*"))

    cache.finish(VISITOR, VARIANT, lease, {"hero": BODY})
    await cache.settle()

    assert (lease.keys, len(taken)) == (("hero",), 1)
    assert await bodies_of(caches(own_server), "hero") == {"hero": BODY}
    with raw(own_server) as connection:
        assert not list(connection.scan_iter("moe:*:l:*"))


async def test_that_no_server_listens_is_known_before_the_first_page(
    own_server: RedisServer, caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.kill()

    await caches(own_server).warm()

    assert lines(caplog) == ["shared_cache_down"]


def _full(server: RedisServer, *, on: bool) -> None:
    with raw(server) as connection:
        connection.config_set("maxmemory", 1 if on else 0)


def _read_only(server: RedisServer, *, on: bool) -> None:
    with raw(server) as connection:
        connection.execute_command(
            "REPLICAOF", *(("127.0.0.1", "1") if on else ("NO", "ONE"))
        )


@pytest.mark.parametrize(
    ("refuse", "error"),
    [(_full, "OutOfMemoryError"), (_read_only, "ReadOnlyError")],
    ids=["full", "read-only"],
)
async def test_refused_it_leaves_redis_alone_until_it_takes_writes_again(
    own_server: RedisServer,
    caches: Caches,
    caplog: pytest.LogCaptureFixture,
    refuse: Callable[..., None],
    error: str,
) -> None:
    cache = caches(own_server)
    known = await cache.get(VISITOR, VARIANT, ["hero"])
    lease = await cache.lead(
        VISITOR, VARIANT, ["hero"], known.generation, for_seconds=30
    )
    refuse(own_server, on=True)

    cache.finish(VISITOR, VARIANT, lease, {"hero": BODY})
    await cache.settle()
    for _ in range(5):
        caches.stopwatch += 60
        assert not await answers(cache)
        await cache.settle()
    refuse(own_server, on=False)
    await until_it_answers(cache, caches)

    assert lines(caplog) == ["shared_cache_down", "shared_cache_back"]
    assert f"error={error}: " in caplog.records[0].message
    assert "hero" not in caplog.text
    assert caches.workspace_id not in caplog.text


async def test_a_flutter_is_logged_once_a_minute(
    own_server: RedisServer, caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    cache = caches(own_server)
    for _ in range(3):
        _full(own_server, on=True)
        await cache.forget(VISITOR)
        _full(own_server, on=False)
        async with asyncio.timeout(PATIENCE):
            while not await answers(cache):
                caches.stopwatch += 0.5
                await cache.settle()

    assert caches.stopwatch < 60
    assert lines(caplog) == ["shared_cache_down", "shared_cache_back"]


async def test_what_was_forgotten_during_a_failure_is_reported_later(
    own_server: RedisServer, caches: Caches
) -> None:
    cache, other = caches(own_server), caches(own_server)
    await keep(cache, {"hero": BODY})
    _full(own_server, on=True)

    reached = await cache.forget(VISITOR)
    still_there = await bodies_of(other, "hero")
    _full(own_server, on=False)
    await until_it_answers(cache, caches)
    await cache.settle()

    assert (reached, still_there) == (False, {"hero": BODY})
    assert await bodies_of(other, "hero") == {}


async def test_what_was_forgotten_in_vain_is_not_served_here(
    own_server: RedisServer, caches: Caches
) -> None:
    cache = caches(own_server, timeout=0.2)
    await until_it_answers(cache, caches)
    await keep(cache, {"hero": BODY})
    own_server.hang()
    reached = await cache.forget(VISITOR)
    own_server.resume()

    # One failure does not open the breaker: this asks Redis.
    assert not reached
    assert await bodies_of(cache, "hero") == {}


async def test_an_answer_that_came_while_the_loop_was_busy_is_taken(
    own_server: RedisServer, caches: Caches
) -> None:
    cache = caches(own_server, timeout=0.2)
    await until_it_answers(cache, caches)

    asking = asyncio.create_task(cache.get(VISITOR, VARIANT, ["hero"]))
    for _ in range(10):
        await asyncio.sleep(0)
    time.sleep(0.5)

    assert (await asking).generation is not None


async def test_a_hung_server_does_not_keep_a_process_from_ending(
    tmp_path: Path, caches: Caches
) -> None:
    with redis_server(tmp_path, tls=True) as server:
        cache = caches(server, timeout=0.05)
        await cache.warm()
        server.hang()
        await cache.get(VISITOR, VARIANT, ["hero"])

        async with asyncio.timeout(PATIENCE):
            await cache.aclose()


# Loops, threads and processes


def _end_well(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def _end_at_once(work: Coroutine[Any, Any, None]) -> None:
    """As some test clients do: what is under way on the loop never goes on."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.set_exception_handler(lambda *_: None)
    loop.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", [_end_well, _end_at_once])
def test_a_probe_that_ends_with_its_event_loop_is_followed_by_another(
    own_server: RedisServer, end: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    caches = Caches()
    cache = caches(own_server)
    own_server.kill()

    async def fail() -> None:
        caches.stopwatch += 2 * PATIENCE
        for _ in range(FAILURES_IN_A_ROW):
            assert not await answers(cache)
        await cache.aclose()

    async def begin_a_probe() -> None:
        caches.stopwatch += 60
        assert not await answers(cache)

    async def return_() -> None:
        await until_it_answers(cache, caches)
        await cache.aclose()

    asyncio.run(fail())
    end(begin_a_probe())
    own_server.restart()
    asyncio.run(return_())

    gc.collect()


_FORK = """
import asyncio, os, sys
from moe_middleware.cache.redis import RedisCache

cache = RedisCache(sys.argv[1], workspace_id=sys.argv[2], ttl=60, stale=60, timeout=20)

async def visits(number, turns):
    visitor, variant = number.to_bytes(16, "big"), bytes(8)
    for turn in turns:
        keys = [f"{number}-{turn}"]
        known = await cache.get(visitor, variant, keys)
        generation = known.generation
        lease = await cache.lead(visitor, variant, keys, generation, for_seconds=9)
        assert lease.keys == tuple(keys), lease
        cache.finish(visitor, variant, lease, {keys[0]: keys[0].encode()})
        await cache.settle()
        known = await cache.get(visitor, variant, keys)
        assert known.entries[keys[0]][1] == keys[0].encode()

parent = asyncio.new_event_loop()
asyncio.set_event_loop(parent)
parent.run_until_complete(visits(1, range(3)))
child = os.fork()
if child == 0:
    asyncio.run(visits(2, range(30)))
    os._exit(0)
parent.run_until_complete(visits(1, range(3, 30)))
_, status = os.waitpid(child, 0)
parent.run_until_complete(visits(1, range(30, 33)))
parent.run_until_complete(cache.aclose())
parent.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("server", ["redis", "tls"], indirect=True)
def test_a_fork_leaves_the_parents_connections_alone(server: RedisServer) -> None:
    subprocess.run(
        [sys.executable, "-c", _FORK, server.url, new_id()],
        check=True,
        timeout=2 * PATIENCE,
    )
