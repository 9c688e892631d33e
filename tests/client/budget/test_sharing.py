"""Budgets that several processes, or several hosts, count together."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from moe_middleware.network.rate_limit import WINDOW

from ...redis_servers import RedisServer, redis_server
from .makers import command, in_memory, in_redis, in_sqlite, published_limits
from .spender import PATIENCE, Clock, for_real, taken_at_once

Spender = subprocess.Popen[str]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "budget.db")
    server: RedisServer = request.getfixturevalue("redis")
    command(server, "FLUSHALL")
    return server.url


@contextmanager
def spenders(count: int, store: str, limit: int) -> Iterator[list[Spender]]:
    """Processes that take all they can at each given moment."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.client.budget.spender", store, str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.communicate()


async def test_four_processes_together_take_what_one_may(tmp_path: Path) -> None:
    """All of them at the same moments, so that no busy machine makes a difference."""
    store, limit = str(tmp_path / "budget.db"), 400
    clock, reference_clock = Clock(), Clock()
    budget = for_real(store, limit, clock)
    reference = in_memory(reference_clock, limit)
    by_each, expected = [0, 0, 0, 0], 0

    with spenders(3, store, limit) as others:
        for _ in range(2):
            clock.now += 2 * WINDOW
            reference_clock.now += 2 * WINDOW
            for other in others:
                assert other.stdin is not None
                other.stdin.write(f"{clock.now!r}\n")
                other.stdin.flush()
            by_each[0] += await taken_at_once(budget)
            for number, other in enumerate(others, start=1):
                assert other.stdout is not None
                by_each[number] += int(await asyncio.to_thread(other.stdout.readline))
            expected += await taken_at_once(reference)
        await budget.aclose()

    assert sum(by_each) == expected
    assert sum(count > 0 for count in by_each) > 1


async def test_budgets_that_open_a_new_file_together_share_it(tmp_path: Path) -> None:
    for number in range(15):
        budgets = [for_real(str(tmp_path / f"{number}.db"), 3) for _ in range(4)]
        taken = await asyncio.gather(*(budget.take() for budget in budgets))
        for budget in budgets:
            await budget.aclose()

        assert sum(one.granted for one in taken) == 3


def test_a_forked_child_counts_in_the_same_budget(store: str) -> None:
    budget = for_real(store, 2)

    async def take() -> bool:
        taken = await budget.take()
        await budget.aclose()
        return taken.granted

    async def take_and_fork() -> tuple[bool, int, bool]:
        first = await budget.take()
        child = os.fork()
        if child == 0:
            # Here the parent's thread and connection are of no use.
            code = 99
            try:
                code = 0 if in_a_loop_of_its_own(take) else 1
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        last = await budget.take()
        await budget.aclose()
        return first.granted, os.waitstatus_to_exitcode(status), last.granted

    first, childs_code, last = asyncio.run(take_and_fork())

    assert first
    assert childs_code == 0
    assert not last


def in_a_loop_of_its_own(take: Callable[[], object]) -> object:
    asyncio.events._set_running_loop(None)
    return asyncio.run(take())  # type: ignore[arg-type]


async def test_what_the_api_tells_to_one_the_others_know(
    tmp_path: Path, redis: RedisServer
) -> None:
    clock = Clock()
    name = uuid4().hex
    for one, other in (
        [in_sqlite(tmp_path / "budget.db", clock) for _ in range(2)],
        [in_redis(redis.url, clock, name=name) for _ in range(2)],
    ):
        await other.take()
        one.learn(await one.take(), published_limits(4, 40))
        left = [await one.take(), await other.take(), await other.take()]
        one.learn(left[0], published_limits(0, 30, refused=True))

        own = await one.take()
        others = await other.take()
        clock.now += 31
        after = await other.take()
        await one.aclose()
        await other.aclose()

        assert [taken.granted for taken in left] == [True] * 3
        assert own.wait == pytest.approx(30)
        assert others.wait == pytest.approx(30, abs=1e-3)
        assert after.granted


async def test_workspaces_have_budgets_of_their_own(
    tmp_path: Path, redis: RedisServer
) -> None:
    clock, names = Clock(), [uuid4().hex, uuid4().hex]
    for one, other in (
        [in_sqlite(tmp_path / "budget.db", clock, 9, name=name) for name in names],
        [in_redis(redis.url, clock, 9, name=name) for name in names],
    ):
        await taken_at_once(one)

        went = await taken_at_once(other)
        await one.aclose()
        await other.aclose()

        assert went == 9


async def test_hosts_whose_clocks_differ_go_by_the_clock_of_redis(
    redis: RedisServer,
) -> None:
    command(redis, "FLUSHALL")
    one, other = for_real(redis.url, 2), for_real(redis.url, 2)

    taken = [await one.take(), await other.take(), await other.take()]
    await one.aclose()
    await other.aclose()

    assert [each.granted for each in taken] == [True, True, False]
    assert 0 < taken[2].wait <= WINDOW + 1


async def test_a_script_that_is_lost_amid_many_takes_costs_none(
    redis: RedisServer,
) -> None:
    command(redis, "FLUSHALL")
    budget = in_redis(redis.url, Clock(), limit=1000)
    await budget.take()
    command(redis, "SCRIPT FLUSH")
    taken = await asyncio.gather(*(budget.take() for _ in range(100)))
    await budget.aclose()

    assert sorted(one.number for one in taken) == list(range(2, 102))


async def test_a_budget_that_is_closed_amid_takes_counts_them_alone(
    redis: RedisServer,
) -> None:
    budget = in_redis(redis.url, Clock(), name="closing", limit=1000)
    taking = [asyncio.create_task(budget.take()) for _ in range(10)]
    await asyncio.sleep(0)
    await budget.aclose()

    async with asyncio.timeout(PATIENCE):
        assert all(one.granted for one in await asyncio.gather(*taking))
