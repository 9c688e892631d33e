"""What a budget does when the place that it is shared through is gone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moe_middleware.client.budget.shared import RETRY_AFTER

from ...redis_servers import redis_server
from .makers import (
    LIMIT,
    command,
    heard,
    in_redis,
    in_sqlite,
    published_limits,
    taken_during,
)
from .spender import Clock, taken_at_once


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "budget.db"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in caplog.records]


# --- SQLite ----------------------------------------------------------------


async def test_while_a_file_is_locked_each_process_counts_for_itself(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    budget = in_sqlite(path, clock, busy_timeout=0.01)
    await budget.take()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")

    first = (await budget.take()).granted
    meanwhile = await taken_during(budget, clock, 50, step=0.05)
    other.execute("rollback")
    other.close()
    clock.now += RETRY_AFTER
    await budget.take()
    await budget.aclose()

    assert first
    assert meanwhile == LIMIT - 2
    assert lines(caplog) == ["budget_alone", "budget_shared_again"]
    assert "locked" in caplog.text


def corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def read_only(path: Path) -> None:
    # A write version from the future: processes may only read the file.
    with sqlite3.connect(path) as db:
        db.execute("create table other (id)")
    db.close()
    body = bytearray(path.read_bytes())
    body[18] = 7
    path.write_bytes(body)


@pytest.mark.parametrize("spoil", [corrupt, read_only, Path.mkdir])
async def test_a_file_that_cannot_be_used_is_reported_once_and_left_as_it_is(
    path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    spoil(path)
    before = path.is_file() and path.read_bytes()
    budget = in_sqlite(path, clock)

    went = await taken_during(budget, clock, 50, step=0.05)
    await budget.aclose()

    assert went == LIMIT
    assert lines(caplog) == ["budget_alone"]
    assert (path.is_file() and path.read_bytes()) == before


async def test_a_folder_that_is_made_later_is_used_from_then_on(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "budget.db"
    budget = in_sqlite(path, clock)
    await budget.take()

    path.parent.mkdir()
    clock.now += RETRY_AFTER + 0.1
    await budget.take()
    await budget.aclose()

    assert lines(caplog) == ["budget_alone", "budget_shared_again"]
    assert path.exists()


@pytest.mark.parametrize("state", ["soon", "null", '{"slots": 5}'])
async def test_what_is_none_of_ours_is_as_good_as_a_new_budget(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    budget = in_sqlite(path, clock)
    await heard(budget, published_limits(0, 50, refused=True))
    await budget.take()
    await budget.aclose()
    with sqlite3.connect(path) as db:
        db.execute("update moe_budget_window set state = ?", [state])
    db.close()

    other = in_sqlite(path, clock)
    went = await taken_at_once(other)
    await other.aclose()

    assert went == LIMIT
    assert lines(caplog) == []


async def test_nothing_is_opened_before_the_first_take(path: Path) -> None:
    budget = in_sqlite(path, Clock())
    existed = path.exists()

    await budget.take()
    await budget.aclose()

    assert not existed
    assert path.exists()


# --- Redis -----------------------------------------------------------------


async def test_when_redis_dies_each_process_takes_its_share_of_what_was_left(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, password="s3cret") as server:
        budgets = [in_redis(server.url, clock) for _ in range(3)]
        for budget in budgets:
            await budget.take()
        last = budgets[-1]

        server.kill()
        alone = await taken_at_once(last)
        server.restart()
        clock.now += RETRY_AFTER
        after = await last.take()
        again = await taken_at_once(last)
        for budget in budgets:
            await budget.aclose()

    assert alone == (LIMIT - 3) // 3
    assert after.granted
    # Calls that it took alone go to the Redis, which has lost all others.
    assert again == LIMIT - 1 - alone
    assert lines(caplog) == ["budget_alone", "budget_shared_again"]
    assert "share=1/3" in caplog.text
    assert "s3cret" not in caplog.text


async def test_when_redis_dies_what_the_api_has_left_is_still_known(
    tmp_path: Path, clock: Clock
) -> None:
    with redis_server(tmp_path) as server:
        budgets = [in_redis(server.url, clock) for _ in range(3)]
        for budget in budgets:
            await budget.take()
        await heard(budgets[0], published_limits(500, 50))

        server.kill()
        went = await taken_at_once(budgets[0])
        taken = await heard(budgets[1], published_limits(0, 50, refused=True))
        refused = await budgets[1].take()
        for budget in budgets:
            await budget.aclose()

    assert went == 500
    assert taken.granted
    assert not refused.granted


async def test_a_redis_that_comes_and_goes_empty_brings_no_calls(
    tmp_path: Path, clock: Clock
) -> None:
    with redis_server(tmp_path) as server:
        budget = in_redis(server.url, clock)
        went = 0
        for _ in range(3):
            server.kill()
            went += await taken_at_once(budget)
            server.restart()
            clock.now += RETRY_AFTER
            went += await taken_at_once(budget)
        await budget.aclose()

    # Each time one call goes before it is seen that everything is lost.
    assert LIMIT <= went <= LIMIT + 3


async def test_while_redis_hangs_one_take_in_a_while_pays_for_it(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        budget = in_redis(server.url, clock, timeout=0.1)
        await budget.take()

        clock.now += 1
        server.hang()
        began = time.monotonic()
        first = (await budget.take()).granted
        for _ in range(200):
            await budget.take()
        took = time.monotonic() - began
        server.resume()
        for _ in range(50):
            clock.now += RETRY_AFTER + 0.1
            await budget.take()
            if "budget_shared_again" in lines(caplog):
                break
        await budget.aclose()

    assert first
    # One patience of 0.2 seconds; 200 of them would be 40.
    assert took < 10
    assert lines(caplog)[:2] == ["budget_alone", "budget_shared_again"]


async def test_many_takes_meet_a_dead_redis_at_once_with_one_log_line(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        budget = in_redis(server.url, clock)
        await budget.take()
        server.kill()

        taken = await asyncio.gather(*(budget.take() for _ in range(20)))
        await budget.aclose()

    assert all(one.granted for one in taken)
    assert lines(caplog) == ["budget_alone"]


@pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
async def test_a_redis_that_never_was_there_is_no_reason_to_refuse_a_call(
    clock: Clock, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    budget = in_redis(f"{kind}://127.0.0.1:1", clock)

    await budget.warm()
    went = await taken_at_once(budget)
    await budget.aclose()

    assert went == LIMIT
    assert lines(caplog) == ["budget_alone"]


async def test_a_key_that_holds_something_else_is_reported_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        command(server, "SET", "moe:{budget:w1}:window", "mine")
        budget = in_redis(server.url, clock)

        taken = [await budget.take() for _ in range(2)]
        await budget.aclose()

    assert all(one.granted for one in taken)
    assert lines(caplog) == ["budget_alone"]


async def test_a_redis_that_lost_everything_counts_on(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        budget = in_redis(server.url, clock)
        for _ in range(30):
            taken = await budget.take()
        command(server, "FLUSHALL")
        budget.learn(taken, published_limits(200, 40))

        went = await taken_at_once(budget)
        await budget.aclose()

    assert went == 200
    assert lines(caplog) == []
