"""The budget beside an API's own count: the sandbox's minutes, and other windows.

All of it is simulated: an answer takes a while, during which other calls go.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from moe_middleware.budget import CallBudget, Taken
from moe_middleware.gcra import WINDOW
from moe_middleware.published_limits import limits_of
from moe_middleware.sandbox.limits import MinuteLimit

from ..redis_servers import redis_server
from .makers import in_memory, in_redis, in_sqlite
from .spender import Clock

LIMIT = 2_000
FULL_MINUTE = 1_700_000_040.0
LATENCY = 0.1

Headers = dict[str, str]


class Api(Protocol):
    """An API with a limit of its own."""

    def call(self) -> tuple[bool, Headers]:
        """Return whether a call is answered, and the answer's headers."""
        ...


class Minutes:
    """As the sandbox counts: by the minutes of the clock."""

    def __init__(self, clock: Clock, limit: int = LIMIT, *, silent: bool = False):
        self._minutes, self._limit, self._silent = MinuteLimit(clock), limit, silent

    def call(self) -> tuple[bool, Headers]:
        answered = self._minutes.take(self._limit)
        named = self._minutes.headers(self._limit)
        headers = {name.decode(): value.decode() for name, value in named}
        return answered, {} if self._silent else headers


class Sliding:
    """Any 60 seconds hold the limit; the reset is that of its oldest call."""

    def __init__(self, clock: Clock, limit: int = LIMIT) -> None:
        self._clock, self._limit = clock, limit
        self._times: deque[float] = deque()

    def call(self) -> tuple[bool, Headers]:
        now = self._clock.now
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()
        answered = len(self._times) < self._limit
        if answered:
            self._times.append(now)
        return answered, {
            "x-ratelimit-limit": str(self._limit),
            "x-ratelimit-remaining": str(self._limit - len(self._times)),
            "x-ratelimit-reset": str(int(self._times[0] + WINDOW - now) + 1),
        }


@dataclass
class Outcome:
    """How the calls of a while ended."""

    answered: int = 0
    refused: int = 0
    kept: int = 0
    others: int = 0
    by_minute: dict[int, int] = field(default_factory=dict)

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.answered + self.refused)


async def demand(
    budgets: Sequence[CallBudget],
    api: Api,
    clock: Clock,
    *,
    per_second: float,
    seconds: float,
    neighbour: float = 0.0,
    latency: float = LATENCY,
) -> Outcome:
    """Want calls at a steady pace, one budget after the other."""
    outcome, order = Outcome(), count()
    answers: list[tuple[float, int, CallBudget, Taken, bool, Headers]] = []
    began, wanted, others = clock.now, 0, 0
    while clock.now < began + seconds:
        clock.now += 1 / per_second
        while answers and answers[0][0] <= clock.now:
            _, _, budget, taken, answered, headers = heapq.heappop(answers)
            said = limits_of(headers, clock.now, refused=not answered)
            if said is not None:
                budget.learn(taken, said)
        while others < neighbour * (clock.now - began):
            others += 1
            outcome.others += api.call()[0]
        budget = budgets[wanted % len(budgets)]
        wanted += 1
        taken = await budget.take()
        if not taken.granted:
            outcome.kept += 1
            continue
        answered, headers = api.call()
        outcome.answered += answered
        outcome.refused += not answered
        due = clock.now + latency
        heapq.heappush(answers, (due, next(order), budget, taken, answered, headers))
    return outcome


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


@pytest.mark.parametrize("make", [Minutes, Sliding])
@pytest.mark.parametrize("phase", [0.0, 31.4])
@pytest.mark.parametrize("processes", [1, 4])
async def test_twice_the_limit_for_ten_minutes_uses_it_and_is_hardly_refused(
    clock: Clock, make: Callable[[Clock], Api], phase: float, processes: int
) -> None:
    clock.now += phase
    budgets = [in_memory(clock, LIMIT) for _ in range(processes)]

    outcome = await demand(
        budgets, make(clock), clock, per_second=2 * LIMIT / WINDOW, seconds=600
    )

    assert outcome.answered >= 0.97 * 10 * LIMIT
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
            budgets, Minutes(clock, 300), clock, per_second=10, seconds=600
        )
        for budget in budgets:
            await budget.aclose()

    assert outcome.answered >= 0.97 * 10 * 300
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
        seconds=600,
        neighbour=LIMIT / 2 / WINDOW,
    )

    assert outcome.answered + outcome.others >= 0.97 * 10 * LIMIT
    assert outcome.refused_share <= 0.02


async def test_where_the_api_says_nothing_the_limit_is_used_too(clock: Clock) -> None:
    outcome = await demand(
        [in_memory(clock, LIMIT)],
        Minutes(clock, silent=True),
        clock,
        per_second=2 * LIMIT / WINDOW,
        seconds=600,
    )

    assert outcome.answered >= 0.97 * 10 * LIMIT
    assert outcome.refused_share <= 0.02


async def test_a_workspace_with_a_lower_limit_than_configured_is_hardly_refused(
    clock: Clock,
) -> None:
    outcome = await demand(
        [in_memory(clock, LIMIT)],
        Minutes(clock, LIMIT // 4),
        clock,
        per_second=LIMIT / WINDOW,
        seconds=600,
    )

    assert outcome.answered >= 0.97 * 10 * LIMIT / 4
    assert outcome.refused_share <= 0.02


async def test_smoothly_nobody_is_refused_and_hardly_anything_is_left(
    clock: Clock,
) -> None:
    clock.now += 31.4
    outcome = await demand(
        [in_memory(clock, LIMIT, smooth=True)],
        Minutes(clock),
        clock,
        per_second=2 * LIMIT / WINDOW,
        seconds=600,
    )

    assert outcome.answered >= 0.95 * 10 * LIMIT
    assert outcome.refused == 0
