"""How much of a workspace's quota is used, and how many calls are refused for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx

from moe_middleware import Identity, MoEngageClient, Settings
from moe_middleware.client.budget import CallBudget, open_budget
from moe_middleware.models.errors import BudgetError, MoEngageError
from moe_middleware.network.rate_limit import WINDOW
from moe_middleware.sandbox.memory.limits import MinuteLimit
from tests.client.budget.demand import (
    FULL_MINUTE,
    Api,
    Minutes,
    Outcome,
    Sliding,
    demand,
)
from tests.client.budget.makers import in_memory
from tests.client.budget.spender import Clock
from tests.redis_servers import redis_server

from .effort import Effort
from .ratios import NO_GOAL, Figure, Row

LIMIT = 10_000
VISITS, SECONDS, SPENT = 5_000, 4.0, 1_000
"""A campaign's first seconds, on a workspace that has used up a tenth."""

LATENCY = 0.03
"""How long the upstream takes, in seconds."""

PROCESSES = 4
MINUTES = 10
SIMULATED_LIMIT = 2_000

BODY = b'{"experiences":{"hero":{"payload":{"a":1},"experience_context":{"cid":"1"}}}}'


async def quota(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Let a spike, an overload and a neighbour come."""
    visits = effort.amount(VISITS)
    with redis_server(directory) as redis:
        for store in ("memory:", f"sqlite:///{directory / 'budget.db'}", redis.url):
            budget = open_budget(store, LIMIT, workspace_id="W1")
            kept, failed = await _spike(budget, visits, SECONDS * visits / VISITS)
            await budget.aclose()
            yield Figure(
                what=f"spike of {visits:,} visits, {store.partition(':')[0]}",
                text=f"{kept:.2%} kept back, {failed:.2%} failed otherwise",
                goal="<= 1 % kept back",
                value=kept * 100,
            )
    double = 2 * SIMULATED_LIMIT / WINDOW
    runs: dict[str, Callable[[], Awaitable[Outcome]]] = {
        "twice the quota, the clock's minutes": partial(_simulated, Minutes, double),
        "twice the quota, a sliding minute": partial(_simulated, Sliding, double),
        "twice the quota, a neighbour takes half": partial(
            _simulated, Minutes, double, neighbour=double / 4
        ),
        "twice the quota, smoothly": partial(_simulated, Minutes, double, smooth=True),
    }
    for what, run in runs.items():
        outcome = await run()
        used = (outcome.answered + outcome.others) / SIMULATED_LIMIT / MINUTES
        smooth = "smoothly" in what
        yield Figure(
            what=f"{what}: quota used",
            text=f"{used:.2%}",
            goal=NO_GOAL if smooth else ">= 97 % used",
            value=used * 100,
        )
        yield Figure(
            what=f"{what}: calls refused",
            text=f"{outcome.refused_share:.2%}",
            goal="<= 2 % refused",
            value=outcome.refused_share * 100,
        )


class _Upstream(httpx.AsyncBaseTransport):
    """An API that counts by the clock's minutes, some of it used up by others."""

    def __init__(self) -> None:
        # It began in the middle of a minute, which does not end during the spike.
        began = time.monotonic()
        self._limit = MinuteLimit(lambda: FULL_MINUTE + time.monotonic() - began)
        for _ in range(SPENT):
            self._limit.take(LIMIT)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answered = self._limit.take(LIMIT)
        headers = [
            *self._limit.headers(LIMIT),
            (b"date", b"Tue, 14 Nov 2023 22:14:00 GMT"),
        ]
        await asyncio.sleep(LATENCY)
        stream = httpx.ByteStream(BODY)
        return httpx.Response(200 if answered else 429, headers=headers, stream=stream)


async def _spike(
    budget: CallBudget, visits: int, seconds: float
) -> tuple[float, float]:
    """Return which share was kept back by the budget, and which failed otherwise."""
    upstream = _Upstream()
    client = MoEngageClient(
        Settings(workspace_id="W1", api_key="K1"),
        budget=budget,
        transport=lambda: upstream,
    )
    outcomes: list[str] = []

    async def visit(number: int) -> None:
        await asyncio.sleep(seconds * number / visits)
        try:
            who = Identity(customer_id=f"c{number}")
            await client.fetch(["hero"], identity=who)
            outcomes.append("answered")
        except BudgetError:
            outcomes.append("kept")
        except MoEngageError:
            outcomes.append("failed")

    await asyncio.gather(*(visit(number) for number in range(visits)))
    await client.aclose()
    return outcomes.count("kept") / visits, outcomes.count("failed") / visits


async def _simulated(
    make: Callable[[Clock, int], Api],
    per_second: float,
    *,
    neighbour: float = 0.0,
    smooth: bool = False,
) -> Outcome:
    clock = Clock()
    clock.now = FULL_MINUTE
    budgets = [
        in_memory(clock, SIMULATED_LIMIT, smooth=smooth) for _ in range(PROCESSES)
    ]
    return await demand(
        budgets,
        make(clock, SIMULATED_LIMIT),
        clock,
        per_second=per_second,
        seconds=MINUTES * WINDOW,
        neighbour=neighbour,
    )
