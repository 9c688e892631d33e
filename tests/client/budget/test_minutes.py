"""The budget beside an API's own count."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from moe_middleware.network.rate_limit import WINDOW

from ...redis_servers import redis_server
from .demand import FULL_MINUTE, LIMIT, Api, Minutes, Sliding, demand
from .makers import in_memory, in_redis, in_sqlite
from .spender import Clock


@pytest.fixture
def clock() -> Clock:
    made = Clock()
    made.now = FULL_MINUTE
    return made


@pytest.mark.parametrize("phase", [0.0, 13.7, 59.9])
async def test_in_a_spike_all_that_is_left_is_spent(clock: Clock, phase: float) -> None:
    clock.now += phase
    api = Minutes(clock, 10_000)
    for _ in range(1_000):
        api.call()

    outcome = await demand(
        [in_memory(clock, 10_000)], api, clock, per_second=1_250, seconds=4
    )

    assert outcome.kept <= 50
    assert outcome.refused == 0


@pytest.mark.parametrize(
    ("make", "phase", "processes"),
    [(Minutes, 0.0, 1), (Minutes, 31.4, 4), (Sliding, 0.0, 4), (Sliding, 31.4, 1)],
)
async def test_twice_the_limit_for_five_minutes_uses_it_and_is_hardly_refused(
    clock: Clock, make: Callable[[Clock], Api], phase: float, processes: int
) -> None:
    clock.now += phase
    budgets = [in_memory(clock, LIMIT) for _ in range(processes)]

    outcome = await demand(
        budgets, make(clock), clock, per_second=2 * LIMIT / WINDOW, seconds=300
    )

    assert outcome.answered >= 0.97 * 5 * LIMIT
    assert outcome.refused_share <= 0.02


@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_so_do_four_processes_that_share_a_store(
    clock: Clock, store: str, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as redis:
        make = (
            partial(in_sqlite, tmp_path / "budget.db", clock)
            if store == "sqlite"
            else partial(in_redis, redis.url, clock, name=uuid4().hex)
        )
        budgets = [make(300) for _ in range(4)]
        outcome = await demand(
            budgets, Minutes(clock, 300), clock, per_second=10, seconds=300
        )
        for budget in budgets:
            await budget.aclose()

    assert outcome.answered >= 0.97 * 5 * 300
    assert outcome.refused_share <= 0.02


@pytest.mark.parametrize("processes", [1, 4])
async def test_a_neighbour_who_takes_half_of_it_is_reckoned_with(
    clock: Clock, processes: int
) -> None:
    budgets = [in_memory(clock, LIMIT) for _ in range(processes)]

    outcome = await demand(
        budgets,
        Minutes(clock),
        clock,
        per_second=2 * LIMIT / WINDOW,
        seconds=300,
        neighbour=LIMIT / 2 / WINDOW,
    )

    assert outcome.answered + outcome.others >= 0.97 * 5 * LIMIT
    assert outcome.refused_share <= 0.02


async def test_where_the_api_says_nothing_the_limit_is_used_too(clock: Clock) -> None:
    outcome = await demand(
        [in_memory(clock, LIMIT)],
        Minutes(clock, silent=True),
        clock,
        per_second=2 * LIMIT / WINDOW,
        seconds=300,
    )

    assert outcome.answered >= 0.97 * 5 * LIMIT
    assert outcome.refused_share <= 0.02


async def test_a_workspace_with_a_lower_limit_than_configured_is_hardly_refused(
    clock: Clock,
) -> None:
    outcome = await demand(
        [in_memory(clock, LIMIT)],
        Minutes(clock, LIMIT // 4),
        clock,
        per_second=LIMIT / WINDOW,
        seconds=300,
    )

    assert outcome.answered >= 0.97 * 5 * LIMIT / 4
    assert outcome.refused_share <= 0.02


async def test_smoothly_no_call_is_refused_and_hardly_any_is_left(
    clock: Clock,
) -> None:
    clock.now += 31.4
    outcome = await demand(
        [in_memory(clock, LIMIT, smooth=True)],
        Minutes(clock),
        clock,
        per_second=2 * LIMIT / WINDOW,
        seconds=300,
    )

    assert outcome.answered >= 0.95 * 5 * LIMIT
    assert outcome.refused == 0
