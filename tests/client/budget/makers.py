"""Budgets over every backend, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redis import Redis

from moe_middleware.client.budget.contract import CallBudget, Taken
from moe_middleware.client.budget.limits import Limits
from moe_middleware.client.budget.memory import MemoryBudget
from moe_middleware.client.budget.redis import RedisLedger
from moe_middleware.client.budget.shared import SharedBudget
from moe_middleware.client.budget.sqlite import SQLiteLedger
from moe_middleware.network.published_limits import Published
from moe_middleware.network.redis import RedisClients

from ...redis_servers import RedisServer
from .spender import PATIENCE, Clock

LIMIT = 600
"""Calls in a minute; smoothly they are 588, and 10 at once."""


Make = Callable[..., CallBudget]


def in_memory(clock: Clock, limit: int = LIMIT, **pace: bool) -> CallBudget:
    return MemoryBudget(Limits(limit, **pace), clock=clock)


def in_sqlite(
    path: Path,
    clock: Clock,
    limit: int = LIMIT,
    *,
    name: str = "w1",
    busy_timeout: float = PATIENCE,
    **pace: bool,
) -> SharedBudget:
    ledger = SQLiteLedger(str(path), name, busy_timeout=busy_timeout, clock=clock)
    return SharedBudget(ledger, Limits(limit, **pace), patience=PATIENCE, clock=clock)


def in_redis(
    url: str,
    clock: Clock,
    limit: int = LIMIT,
    *,
    name: str = "w1",
    timeout: float = PATIENCE,
    **pace: bool,
) -> SharedBudget:
    clients = RedisClients(url, where="budget.store", timeout=timeout)
    ledger = RedisLedger(clients, name, clock=clock)
    return SharedBudget(
        ledger, Limits(limit, **pace), patience=2 * timeout, clock=clock
    )


def command(server: RedisServer, *words: str) -> object:
    """Say something to a Redis, and return its answer."""
    with Redis.from_url(server.url) as client:
        return client.execute_command(*words)


def published_limits(
    remaining: int | None,
    resets_in: float | None,
    *,
    limit: int | None = LIMIT,
    refused: bool = False,
) -> Published:
    """The limits that an answer of the API has."""
    return Published(
        limit=limit, remaining=remaining, resets_in=resets_in, refused=refused
    )


async def heard(budget: CallBudget, published: Published) -> Taken:
    """Take a call whose answer says so."""
    taken = await budget.take()
    budget.learn(taken, published)
    return taken


async def taken_during(
    budget: CallBudget, clock: Clock, seconds: float, *, step: float
) -> int:
    """Ask for a call every ``step`` seconds of the clock; return how many went."""
    until, went = clock.now + seconds, 0
    while clock.now < until:
        went += (await budget.take()).granted
        clock.now += step
    return went
