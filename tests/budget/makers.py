"""Budgets over every backend, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redis import Redis

from moe_middleware.budget.contract import CallBudget
from moe_middleware.budget.memory import MemoryBudget
from moe_middleware.budget.redis import RedisLedger
from moe_middleware.budget.shared import SharedBudget
from moe_middleware.budget.sqlite import SQLiteLedger
from moe_middleware.redis_clients import RedisClients

from ..redis_servers import RedisServer
from .spender import PATIENCE, Clock

LIMIT = 600
"""588 a minute steadily, 10 at once."""


Make = Callable[..., CallBudget]


def in_memory(clock: Clock, limit: int = LIMIT, *, fixed: bool = False) -> CallBudget:
    return MemoryBudget(limit, fixed=fixed, clock=clock)


def in_sqlite(
    path: Path,
    clock: Clock,
    limit: int = LIMIT,
    *,
    name: str = "w1",
    fixed: bool = False,
    busy_timeout: float = PATIENCE,
) -> SharedBudget:
    ledger = SQLiteLedger(str(path), name, busy_timeout=busy_timeout, clock=clock)
    return SharedBudget(ledger, limit, fixed=fixed, patience=PATIENCE, clock=clock)


def in_redis(
    url: str,
    clock: Clock,
    limit: int = LIMIT,
    *,
    name: str = "w1",
    fixed: bool = False,
    timeout: float = PATIENCE,
) -> SharedBudget:
    clients = RedisClients(url, where="budget.store", timeout=timeout)
    ledger = RedisLedger(clients, name, clock=clock)
    return SharedBudget(ledger, limit, fixed=fixed, patience=2 * timeout, clock=clock)


def command(server: RedisServer, *words: str) -> object:
    """Say something to a Redis, and return its answer."""
    with Redis.from_url(server.url) as client:
        return client.execute_command(*words)


async def taken_during(
    budget: CallBudget, clock: Clock, seconds: float, *, step: float
) -> int:
    """Ask for a call every ``step`` seconds of the clock; return how many went."""
    until, went = clock.now + seconds, 0
    while clock.now < until:
        went += not await budget.take()
        clock.now += step
    return went
