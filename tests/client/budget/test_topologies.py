"""A budget that is shared in a cluster, or behind sentinels."""

from __future__ import annotations

import asyncio

import pytest

from moe_middleware.client.budget import open_budget
from moe_middleware.client.budget.shared import RETRY_AFTER

from ...redis_topologies import Pair
from .makers import in_redis
from .spender import Clock


@pytest.mark.parametrize("kind", ["cluster", "sentinels"])
async def test_calls_are_counted_together_also_after_a_failover(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    pair: Pair = request.getfixturevalue(kind)
    clock, name = Clock(), pair.name("budget:{}")
    one, other = (in_redis(pair.url, clock, 5, name=name) for _ in range(2))
    await one.warm()
    before = [(await budget.take()).granted for budget in (one, other, one)]

    # The new primary has the calls, but has never seen the script.
    await asyncio.to_thread(pair.wait_until_whole)
    killed = await asyncio.to_thread(pair.kill_primary)
    await asyncio.to_thread(pair.wait_for_failover, killed)
    after = []
    for budget in (one, other, one):
        after.append((await budget.take()).granted)
        clock.now += 2 * RETRY_AFTER
    await asyncio.to_thread(pair.heal, killed)
    for budget in (one, other):
        await budget.aclose()

    assert before == [True] * 3
    assert after == [True, True, False]
    events = [line.split()[0] for line in caplog.messages]
    assert events.count("budget_alone") <= 2


@pytest.mark.parametrize("kind", ["cluster", "sentinels"])
async def test_nothing_there_counts_alone_and_says_so_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/mymaster" if kind == "sentinels" else ""
    scheme = f"redis+{kind.removesuffix('s')}"
    url = f"{scheme}://me:sesame@127.0.0.1:1,127.0.0.1:2{path}"
    budget = open_budget(url, 5, workspace_id="W1", timeout=1.0)

    await budget.warm()
    taken = [(await budget.take()).granted for _ in range(7)]
    await budget.aclose()

    assert taken == [True] * 5 + [False] * 2
    [line] = caplog.messages
    assert line.startswith(f"budget_alone store={scheme}://127.0.0.1:1,127.0.0.1:2")
    assert "sesame" not in line
