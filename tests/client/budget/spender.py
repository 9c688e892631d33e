"""A process that spends a shared budget; it imports little, to be there at once."""

from __future__ import annotations

import asyncio
import sys
import time

from moe_middleware.client.budget.contract import CallBudget
from moe_middleware.client.budget.limits import Limits
from moe_middleware.client.budget.shared import Ledger, SharedBudget
from moe_middleware.client.budget.sqlite import SQLiteLedger

PATIENCE = 20.0
"""How long a take waits where it must not count alone, in seconds."""


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def for_real(store: str, limit: int, clock: Clock | None = None) -> SharedBudget:
    """A budget with a patience that no busy machine wears out.

    Args:
        store: The path of a file, or the address of a Redis.
        limit: Calls in a minute.
        clock: That of the ledger and the process; left out, the real ones.
    """
    ledger: Ledger
    if store.startswith("redis://"):
        from moe_middleware.client.budget.redis import RedisLedger
        from moe_middleware.network.redis import RedisClients

        clients = RedisClients(store, where="budget.store", timeout=PATIENCE)
        ledger = RedisLedger(clients, "w1", clock=clock)
    else:
        ledger = SQLiteLedger(
            store, "w1", busy_timeout=PATIENCE, clock=clock or time.time
        )
    used = clock or time.monotonic
    return SharedBudget(ledger, Limits(limit), patience=PATIENCE, clock=used)


async def taken_at_once(budget: CallBudget, most: int = 100_000) -> int:
    """Take calls until one is refused; return how many went."""
    for count in range(most):
        if not (await budget.take()).granted:
            return count
    raise AssertionError(f"{most} calls went")


async def spend(store: str, limit: int) -> None:
    """Take all there is at each moment that a line of the input names."""
    clock = Clock()
    budget = for_real(store, limit, clock)
    print("ready", flush=True)
    for line in sys.stdin:
        clock.now = float(line)
        print(await taken_at_once(budget), flush=True)
    await budget.aclose()


if __name__ == "__main__":
    asyncio.run(spend(sys.argv[1], int(sys.argv[2])))
