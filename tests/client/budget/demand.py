"""A simulated demand for calls, and APIs that count them in windows of their own.

An answer takes a while, during which other calls go.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from moe_middleware.client.budget import CallBudget, Taken
from moe_middleware.network.published_limits import limits_of
from moe_middleware.network.rate_limit import WINDOW
from moe_middleware.sandbox.memory.limits import MinuteLimit

from .spender import Clock

LIMIT = 600
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
            published = limits_of(headers, clock.now, refused=not answered)
            if published is not None:
                budget.learn(taken, published)
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
