"""The budget beside an API's own count."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from moe_middleware.network.rate_limit import WINDOW

from .demand import FULL_MINUTE, LIMIT, Api, Minutes, Sliding, demand
from .makers import in_memory
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


HALF = LIMIT / 2 / WINDOW
"""Calls a second of a neighbour who takes half of the limit."""


@pytest.mark.parametrize(
    ("make", "limit", "processes", "phase", "neighbour"),
    [
        (Minutes, LIMIT, 1, 0.0, 0.0),
        (Minutes, LIMIT, 4, 31.4, 0.0),
        (Sliding, LIMIT, 4, 0.0, 0.0),
        (Sliding, LIMIT, 1, 31.4, 0.0),
        (Minutes, LIMIT, 4, 0.0, HALF),
        (partial(Minutes, silent=True), LIMIT, 1, 0.0, 0.0),
        # Less than was configured.
        (Minutes, LIMIT // 2, 1, 0.0, 0.0),
    ],
)
async def test_twice_the_limit_for_five_minutes_uses_it_and_is_hardly_refused(
    clock: Clock,
    make: Callable[[Clock, int], Api],
    limit: int,
    processes: int,
    phase: float,
    neighbour: float,
) -> None:
    clock.now += phase
    budgets = [in_memory(clock, LIMIT) for _ in range(processes)]

    outcome = await demand(
        *(budgets, make(clock, limit), clock),
        per_second=2 * LIMIT / WINDOW,
        seconds=300,
        neighbour=neighbour,
    )

    assert outcome.answered + outcome.others >= 0.97 * 5 * limit
    assert outcome.refused_share <= 0.02


async def test_smoothly_no_call_is_refused_and_hardly_any_is_left(
    clock: Clock,
) -> None:
    limit = 2_000
    clock.now += 31.4
    outcome = await demand(
        [in_memory(clock, limit, smooth=True)],
        Minutes(clock, limit),
        clock,
        per_second=2 * limit / WINDOW,
        seconds=180,
    )

    assert outcome.answered >= 0.95 * 3 * limit
    assert outcome.refused == 0
