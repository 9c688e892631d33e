"""What every budget promises, run over each of them."""

from __future__ import annotations

import asyncio
import itertools
import random
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from moe_middleware.client.budget import CallBudget, Taken
from moe_middleware.network.rate_limit import WINDOW

from ...redis_servers import RedisServer, redis_server
from .makers import (
    LIMIT,
    Make,
    heard,
    in_memory,
    in_redis,
    in_sqlite,
    published_limits,
    taken_during,
)
from .spender import Clock, taken_at_once

STEADY, BURST = 588, 10
"""A smooth budget's calls a minute, and at once."""

NOTHING = Taken(True)


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
async def each_budget(make: Make) -> AsyncIterator[CallBudget]:
    made = make()
    yield made
    await made.aclose()


@pytest.fixture
def budget(clock: Clock) -> CallBudget:
    """The one that the others are compared with."""
    return in_memory(clock)


@pytest.fixture
def smooth(clock: Clock) -> CallBudget:
    return in_memory(clock, smooth=True)


# --- where the API says nothing --------------------------------------------


async def test_the_limit_may_be_spent_at_once_and_then_it_says_how_long_to_wait(
    budget: CallBudget, clock: Clock
) -> None:
    went = await taken_at_once(budget)
    refused = await budget.take()

    clock.now += refused.wait
    assert went == LIMIT
    assert WINDOW <= refused.wait <= WINDOW + 1
    assert (await budget.take()).granted


async def test_no_minute_holds_more_than_the_limit_and_all_of_it_is_used(
    budget: CallBudget, clock: Clock
) -> None:
    began, times, step = clock.now, [], 0.1

    while clock.now < began + 3 * WINDOW:
        if (await budget.take()).granted:
            times.append(clock.now)
        clock.now += step

    fullest = max(
        bisect_left(times, start + WINDOW) - first for first, start in enumerate(times)
    )
    assert fullest == LIMIT
    assert len(times) >= 0.97 * 3 * LIMIT


async def test_every_budget_counts_alike(make: Make, clock: Clock) -> None:
    limit = 30
    for smooth, fixed in itertools.product([False, True], [False, True]):
        budget = make(limit, smooth=smooth, fixed=fixed)
        reference = in_memory(clock, limit, smooth=smooth, fixed=fixed)
        chance = random.Random(7)
        calls: list[tuple[Taken, Taken]] = []
        clock.now += 10 * WINDOW

        for _ in range(400):
            clock.now += chance.choice([0.0, 0.0, 0.01, 1.0]) * chance.random()
            if chance.random() < 0.01:
                clock.now += chance.choice([-86_400, -61, 86_400])
            within = chance.choice([0.0, 0.0, 0.1])

            taken, expected = await budget.take(within), await reference.take(within)

            assert taken.granted == expected.granted
            if smooth:
                # A refusal that was just given is given again, with less precision.
                assert taken.wait == pytest.approx(expected.wait, abs=1e-6)
            if taken.granted:
                calls.append((taken, expected))
            if calls and chance.random() < 0.15:
                published = published_limits(
                    chance.randrange(2 * limit),
                    chance.choice([None, 10 * chance.random()]),
                    limit=chance.choice([None, limit // 3, limit, 5 * limit]),
                    refused=chance.random() < 0.05,
                )
                # Responses come out of order.
                taken, expected = chance.choice(calls[-4:])
                budget.learn(taken, published)
                reference.learn(expected, published)
        await budget.aclose()


async def test_a_clock_that_jumps_costs_nothing(
    budget: CallBudget, clock: Clock
) -> None:
    await heard(budget, published_limits(0, 50, refused=True))

    for jump in (-86_400, 172_800, -61):
        clock.now += jump
        assert (await budget.take()).granted


# --- what the API says -----------------------------------------------------


async def test_when_its_window_ends_all_are_there_again(
    budget: CallBudget, clock: Clock
) -> None:
    await heard(budget, published_limits(5, 30))

    went = await taken_at_once(budget)
    refused = await budget.take()
    clock.now += 30.1

    assert went == 5
    assert refused.wait == pytest.approx(30, abs=0.5)
    assert await taken_at_once(budget) == LIMIT


async def test_it_hears_of_others_who_use_the_workspace(
    budget: CallBudget, clock: Clock
) -> None:
    await heard(budget, published_limits(500, 40))
    await taken_during(budget, clock, 5, step=0.1)

    # We took 50 of them, somebody else 300.
    await heard(budget, published_limits(149, 35))

    assert await taken_at_once(budget) == 149


async def test_calls_that_went_after_the_answers_own_are_taken_off(
    budget: CallBudget,
) -> None:
    first = await budget.take()
    for _ in range(40):
        await budget.take()
    budget.learn(first, published_limits(100, 40))

    assert await taken_at_once(budget) == 60


async def test_an_older_calls_answer_that_comes_late_is_old_news(
    budget: CallBudget,
) -> None:
    older, newer = await budget.take(), await budget.take()
    budget.learn(newer, published_limits(10, 40))
    await budget.take()
    budget.learn(older, published_limits(500, 40))

    assert await taken_at_once(budget) == 9


async def test_a_sliding_window_that_has_calls_again_is_believed(
    budget: CallBudget,
) -> None:
    await heard(budget, published_limits(1, 60))
    await heard(budget, published_limits(200, 60))

    assert await taken_at_once(budget) == 200


async def test_a_refusal_stops_calls_whatever_late_answers_say(
    budget: CallBudget, clock: Clock
) -> None:
    taken = [await budget.take() for _ in range(3)]
    budget.learn(taken[1], published_limits(0, 20, refused=True))
    budget.learn(taken[2], published_limits(300, 20))

    assert not (await budget.take()).granted
    clock.now += 20.5
    assert (await budget.take()).granted


@pytest.mark.parametrize(("resets_in", "longest"), [(0.0, 1), (None, 10)])
async def test_a_refusal_without_a_reset_in_the_future_stops_calls_for_a_moment(
    budget: CallBudget, clock: Clock, resets_in: float | None, longest: float
) -> None:
    await heard(budget, published_limits(0, resets_in, limit=None, refused=True))

    wait = (await budget.take()).wait
    clock.now += wait + 0.01

    assert 0 < wait <= longest
    assert (await budget.take()).granted


async def test_a_lower_limit_that_is_published_holds_while_it_is_heard(
    budget: CallBudget, clock: Clock
) -> None:
    await heard(budget, published_limits(None, None, limit=60))

    lowered = await taken_at_once(budget)
    clock.now += WINDOW + 2

    assert lowered == 59
    assert await taken_at_once(budget) == LIMIT


async def test_a_higher_limit_that_is_published_holds_too(budget: CallBudget) -> None:
    await heard(budget, published_limits(5 * LIMIT, 30, limit=5 * LIMIT))

    assert await taken_at_once(budget) == 5 * LIMIT


async def test_a_fixed_limit_holds_beside_what_the_api_has_left(clock: Clock) -> None:
    budget = in_memory(clock, fixed=True)

    await heard(budget, published_limits(9_999, 30, limit=10_000))
    went = await taken_at_once(budget)
    clock.now += 31
    await heard(budget, published_limits(50, 60, limit=10_000))
    lowered = await taken_at_once(budget)

    assert went == LIMIT - 1
    assert lowered == 50


async def test_nothing_that_is_published_stops_calls_for_longer_than_a_window(
    clock: Clock,
) -> None:
    for limit, remaining, resets_in, refused in itertools.product(
        [None, 0, -7, 1, 10**18],
        [None, -(10**18), 0, 1, 10**18],
        [None, 0.0, 60.0],
        [False, True],
    ):
        budget = in_memory(clock)
        published = published_limits(remaining, resets_in, limit=limit, refused=refused)
        for _ in range(3):
            budget.learn(await budget.take(), published)
            wait = (await budget.take()).wait
            assert 0 <= wait <= WINDOW + 1, published

        clock.now += WINDOW + 2
        assert await taken_at_once(budget) == LIMIT, published


async def test_answers_to_calls_that_it_never_took_do_no_harm(
    budget: CallBudget,
) -> None:
    budget.learn(NOTHING, published_limits(5, 30))
    budget.learn(Taken(True, number=10**9, own=10**9), published_limits(700, 30))

    assert (await budget.take()).granted


# --- smoothly --------------------------------------------------------------


async def test_a_smooth_budget_spreads_its_calls(
    smooth: CallBudget, clock: Clock
) -> None:
    at_once = await taken_at_once(smooth)
    wait = (await smooth.take()).wait

    went = await taken_during(smooth, clock, WINDOW, step=0.05)

    assert at_once == BURST
    assert wait == pytest.approx(WINDOW / STEADY, rel=0.02)
    assert went == pytest.approx(STEADY, rel=0.02)


async def test_a_call_that_can_wait_for_its_turn_is_given_one(
    smooth: CallBudget, clock: Clock
) -> None:
    await taken_at_once(smooth)

    turns = [await smooth.take(within=0.5) for _ in range(8)]

    granted = [turn.wait for turn in turns if turn.granted]
    assert granted == pytest.approx([WINDOW / STEADY * n for n in range(1, 5)], rel=0.1)
    assert all(turn.wait > 0.5 for turn in turns if not turn.granted)


async def test_what_the_others_leave_is_spread_over_the_time_left(
    smooth: CallBudget, clock: Clock
) -> None:
    await heard(smooth, published_limits(100, 30))

    first_half = await taken_during(smooth, clock, 15, step=0.02)
    second_half = await taken_during(smooth, clock, 14.9, step=0.02)

    assert 40 <= first_half <= 60
    assert first_half + second_half <= 100


# --- the rest --------------------------------------------------------------


async def test_a_closed_budget_opens_again(each_budget: CallBudget) -> None:
    await taken_at_once(each_budget)
    await each_budget.aclose()
    await each_budget.aclose()

    assert (await each_budget.take()).wait >= 0.0


def test_it_serves_one_event_loop_after_the_other(make: Make) -> None:
    budget = make()

    async def use() -> int:
        went = await taken_at_once(budget)
        await budget.aclose()
        return went

    assert asyncio.run(use()) + asyncio.run(use()) == LIMIT


async def test_many_takes_at_once_share_what_is_left(each_budget: CallBudget) -> None:
    await heard(each_budget, published_limits(30, 40))

    taken = await asyncio.gather(*(each_budget.take() for _ in range(50)))

    assert sum(one.granted for one in taken) == 30
    numbers = [one.number for one in taken if one.granted]
    assert len(set(numbers)) == len(numbers)


async def test_a_take_that_is_cancelled_harms_no_other(each_budget: CallBudget) -> None:
    tasks = [asyncio.create_task(each_budget.take()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:]:
        task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results[0], Taken)
    assert (await each_budget.take()).granted
