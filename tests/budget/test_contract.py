"""What every budget promises, run over each of them."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from moe_middleware.budget import CallBudget
from moe_middleware.gcra import WINDOW, rate_for

from ..redis_servers import RedisServer, redis_server
from .makers import LIMIT, Make, in_memory, in_redis, in_sqlite, taken_during
from .spender import Clock, taken_at_once

BURST = rate_for(LIMIT).burst
STEADY = 588


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Make:
    """Makes budgets; but for the memory's, all of them are one."""
    if request.param == "memory":
        return partial(in_memory, clock)
    if request.param == "sqlite":
        return partial(in_sqlite, tmp_path / "budget.db", clock)
    server: RedisServer = request.getfixturevalue("redis")
    return partial(in_redis, server.url, clock, name=uuid4().hex)


@pytest.fixture
async def budget(make: Make) -> AsyncIterator[CallBudget]:
    made = make()
    yield made
    await made.aclose()


async def test_an_idle_budget_gives_its_burst_and_then_says_how_long_to_wait(
    budget: CallBudget, clock: Clock
) -> None:
    went = await taken_at_once(budget)
    wait = await budget.take()

    clock.now += wait
    assert went == BURST
    assert wait == pytest.approx(WINDOW / STEADY, rel=0.01)
    assert await budget.take() == 0.0


async def test_who_asks_too_often_gets_the_steady_rate(
    budget: CallBudget, clock: Clock
) -> None:
    await taken_at_once(budget)

    went = await taken_during(budget, clock, 2 * WINDOW, step=0.05)

    assert went == pytest.approx(2 * STEADY, rel=0.01)


async def test_every_budget_counts_alike(
    budget: CallBudget, clock: Clock, make: Make
) -> None:
    reference = in_memory(clock)
    chance = random.Random(7)

    for _ in range(1_000):
        clock.now += chance.choice([0.0, 0.01, 0.2, 1.0]) * chance.random()
        calls = chance.choice([1, 1, 1, 2, 5])

        wait = await budget.take(calls)

        assert wait == pytest.approx(await reference.take(calls), abs=1e-6)


async def test_a_clock_that_jumps_back_costs_a_burst_and_nothing_else(
    budget: CallBudget, clock: Clock
) -> None:
    await budget.take()
    clock.now -= 86_400

    first = await budget.take()
    went = await taken_during(budget, clock, 10, step=0.05)

    assert first <= WINDOW / STEADY * 1.01
    assert went == pytest.approx(STEADY / 6, rel=0.02)


async def test_a_lower_limit_that_is_published_holds_while_it_is_heard(
    budget: CallBudget, clock: Clock
) -> None:
    budget.learn(limit=LIMIT // 10, remaining=None, resets_in=None)
    lowered = rate_for(LIMIT // 10)

    at_once = await taken_at_once(budget)
    wait = await budget.take()
    clock.now += WINDOW + 1

    assert at_once == lowered.burst
    assert wait == pytest.approx(lowered.interval, rel=0.01)
    assert await taken_at_once(budget) == BURST


async def test_a_higher_limit_that_is_published_holds_too(budget: CallBudget) -> None:
    budget.learn(limit=LIMIT * 10, remaining=None, resets_in=None)

    assert await taken_at_once(budget) == rate_for(LIMIT * 10).burst


async def test_a_fixed_limit_is_not_raised_by_a_published_one_but_lowered(
    make: Make,
) -> None:
    budget = make(fixed=True)

    budget.learn(limit=LIMIT * 10, remaining=None, resets_in=None)
    as_fixed = await taken_at_once(budget)
    budget.learn(limit=LIMIT // 10, remaining=None, resets_in=None)
    as_lowered = await taken_at_once(budget)
    await budget.aclose()

    assert as_fixed == BURST
    assert as_lowered <= rate_for(LIMIT // 10).burst


async def test_when_others_use_the_limit_too_what_is_left_is_spread(
    budget: CallBudget, clock: Clock
) -> None:
    await taken_at_once(budget)
    budget.learn(limit=LIMIT, remaining=100, resets_in=30)

    first_half = await taken_during(budget, clock, 15, step=0.02)
    second_half = await taken_during(budget, clock, 14.9, step=0.02)
    after = await taken_during(budget, clock, 10, step=0.05)

    assert 45 <= first_half <= 52
    assert first_half + second_half <= 100
    assert after >= 0.98 * STEADY / 6


async def test_what_this_process_used_itself_does_not_slow_it_down(
    budget: CallBudget, clock: Clock
) -> None:
    """Each answer's headers are those of a window that only we use."""
    left, went, opened_at = LIMIT, 0, clock.now

    while clock.now < opened_at + WINDOW:
        if not await budget.take():
            went, left = went + 1, left - 1
            resets_in = math.ceil(opened_at + WINDOW - clock.now)
            budget.learn(limit=LIMIT, remaining=left, resets_in=resets_in)
        clock.now += 0.05

    assert STEADY <= went <= LIMIT


async def test_a_limit_that_is_used_up_stops_calls_until_its_reset(
    budget: CallBudget, clock: Clock
) -> None:
    budget.learn(limit=LIMIT, remaining=0, resets_in=20)

    wait = await budget.take()
    clock.now += 19.9
    before = await budget.take()
    clock.now += 0.2

    assert wait == pytest.approx(20)
    assert before == pytest.approx(0.1, abs=1e-3)
    assert await budget.take() == 0.0


async def test_a_late_answer_does_not_lift_a_refusal(budget: CallBudget) -> None:
    budget.learn(limit=None, remaining=0, resets_in=20)
    budget.learn(limit=LIMIT, remaining=5, resets_in=20)

    assert await budget.take() > 19


async def test_a_refusal_that_does_not_say_until_when_stops_calls_for_a_moment(
    budget: CallBudget, clock: Clock
) -> None:
    budget.learn(limit=None, remaining=0, resets_in=None)

    wait = await budget.take()
    clock.now += wait + 0.01

    assert 0 < wait <= 10
    assert await budget.take() == 0.0


@pytest.mark.parametrize("limit", [None, 0, -7, 1, 10**18])
@pytest.mark.parametrize("remaining", [None, -(10**18), 0, 1, 10**18])
@pytest.mark.parametrize("resets_in", [None, -1e18, 0.0, 1e18, math.inf, math.nan])
async def test_nothing_that_is_published_stops_calls_for_longer_than_a_window(
    clock: Clock, limit: int | None, remaining: int | None, resets_in: float | None
) -> None:
    budget = in_memory(clock)
    await budget.take()

    for _ in range(3):
        budget.learn(limit=limit, remaining=remaining, resets_in=resets_in)
        wait = await budget.take()
        assert 0 <= wait <= 2 * WINDOW

    clock.now += WINDOW + 2
    assert await taken_at_once(budget) == BURST


async def test_a_closed_budget_opens_again(budget: CallBudget) -> None:
    await taken_at_once(budget)
    await budget.aclose()
    await budget.aclose()

    assert await budget.take() >= 0.0


def test_it_serves_one_event_loop_after_the_other(make: Make) -> None:
    budget = make()

    async def use() -> int:
        went = await taken_at_once(budget)
        await budget.aclose()
        return went

    assert asyncio.run(use()) + asyncio.run(use()) == BURST


async def test_many_takes_at_once_share_the_burst(budget: CallBudget) -> None:
    waits = await asyncio.gather(*(budget.take() for _ in range(50)))

    assert waits.count(0.0) == BURST


async def test_a_take_that_is_cancelled_harms_no_other(budget: CallBudget) -> None:
    tasks = [asyncio.create_task(budget.take()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:]:
        task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results[0] == 0.0
    assert await budget.take() == 0.0
