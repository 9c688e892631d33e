from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from redis.crc import key_slot

from moe_middleware.client.budget import MemoryBudget, open_budget
from moe_middleware.models.errors import SettingsError

from ...redis_servers import redis_server
from ...servers import PATIENCE
from .makers import command


async def test_memory_is_a_budget_of_this_process_alone() -> None:
    budget = open_budget("memory:", 600, workspace_id="WORKSPACE")

    assert isinstance(budget, MemoryBudget)
    assert (await budget.take()).granted


async def test_a_file_is_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    budget = open_budget("sqlite:///budget.db", 600, workspace_id="WORKSPACE")

    until = time.monotonic() + PATIENCE
    # On a busy machine its first takes may run out of patience and count alone.
    while not (tmp_path / "budget.db").exists() and time.monotonic() < until:
        await budget.take()
        await asyncio.sleep(0.01)
    await budget.aclose()

    assert b"WORKSPACE" not in (tmp_path / "budget.db").read_bytes()


async def test_redis_sees_no_workspace(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        budget = open_budget(server.url, 600, workspace_id="WORKSPACE", timeout=20)
        assert (await budget.take()).granted
        keys = command(server, "KEYS", "*")
        await budget.aclose()

    assert isinstance(keys, list)
    assert "WORKSPACE" not in str(keys)
    # In a cluster its script finds both of them on one server.
    assert len({key_slot(key) for key in keys}) == 1
    assert len(keys) == 2


def test_an_address_that_redis_cannot_use_explains_itself() -> None:
    with pytest.raises(SettingsError, match=r"budget\.store"):
        open_budget("redis://127.0.0.1:1/0?db=x", 600, workspace_id="WORKSPACE")


@pytest.mark.parametrize("store", ["memory:", "sqlite:///{}/budget.db"])
def test_it_counts_on_clocks_that_run_by_themselves(store: str, tmp_path: Path) -> None:
    budget = open_budget(
        store.format(tmp_path), 6_000, workspace_id="WORKSPACE", smooth=True
    )

    async def spend_all() -> bool:
        until = time.monotonic() + 20
        while (taken := await budget.take()).granted:
            assert time.monotonic() < until
        await asyncio.sleep(taken.wait)
        again = await budget.take(within=1)
        await budget.aclose()
        return again.granted

    assert asyncio.run(spend_all())
