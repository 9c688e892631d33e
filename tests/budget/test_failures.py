"""What a budget does when the place that it is shared through is gone."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moe_middleware.budget.shared import RETRY_AFTER
from moe_middleware.gcra import rate_for

from ..redis_servers import redis_server
from .makers import LIMIT, command, in_redis, in_sqlite, taken_during
from .spender import Clock, taken_at_once

BURST = rate_for(LIMIT).burst


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

    first = await budget.take()
    meanwhile = await taken_during(budget, clock, 10, step=0.05)
    other.execute("rollback")
    other.close()
    clock.now += RETRY_AFTER
    await budget.take()
    await budget.aclose()

    assert first == 0.0
    assert meanwhile == pytest.approx(588 / 6, rel=0.02)
    assert lines(caplog) == ["budget_alone", "budget_shared_again"]
    assert "locked" in caplog.text


def corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def read_only(path: Path) -> None:
    # A write version from the future: whoever opens the file may only read it.
    with sqlite3.connect(path) as db:
        db.execute("create table other (id)")
    db.close()
    body = bytearray(path.read_bytes())
    body[18] = 7
    path.write_bytes(body)


def directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("spoil", [corrupt, read_only, directory])
async def test_a_file_that_cannot_be_used_is_told_once_and_left_as_it_is(
    path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    spoil(path)
    before = path.is_file() and path.read_bytes()
    budget = in_sqlite(path, clock)

    first = await budget.take()
    went = await taken_during(budget, clock, 10, step=0.05)
    await budget.aclose()

    assert first == 0.0
    assert went == pytest.approx(588 / 6, rel=0.02)
    assert lines(caplog) == ["budget_alone"]
    assert (path.is_file() and path.read_bytes()) == before


async def test_tables_of_others_are_left_alone(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(path) as db:
        db.execute("create table moe_budget (something_else text)")
        db.execute("insert into moe_budget values ('kept')")
    budget = in_sqlite(path, clock)

    first = await budget.take()
    await budget.aclose()
    kept = db.execute("select * from moe_budget").fetchall()
    db.close()

    assert first == 0.0
    assert kept == [("kept",)]
    assert lines(caplog) == ["budget_alone"]


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


async def test_numbers_that_are_none_are_as_good_as_a_new_budget(
    path: Path, clock: Clock
) -> None:
    budget = in_sqlite(path, clock)
    await taken_at_once(budget)
    with sqlite3.connect(path) as db:
        db.execute("update moe_budget set used_until = 'soon', closed_until = x'00'")
    db.close()

    went = await taken_at_once(budget)
    await budget.aclose()

    assert went == BURST


async def test_nothing_is_opened_before_the_first_take(path: Path) -> None:
    budget = in_sqlite(path, Clock())
    existed = path.exists()

    await budget.take()
    await budget.aclose()

    assert not existed
    assert path.exists()


# --- Redis -----------------------------------------------------------------


async def test_when_redis_dies_each_process_takes_its_share_until_it_is_back(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, password="s3cret") as server:
        budgets = [in_redis(server.url, clock) for _ in range(3)]
        for budget in budgets:
            await budget.take()
        last = budgets[-1]

        server.kill()
        first = await last.take()
        alone = await taken_during(last, clock, 30, step=0.05)
        server.restart()
        clock.now += RETRY_AFTER
        after = await last.take()
        back = await taken_during(last, clock, 10, step=0.05)
        for budget in budgets:
            await budget.aclose()

    assert (first, after) == (0.0, 0.0)
    assert alone == pytest.approx(588 / 2 / 3, rel=0.05)
    assert back == pytest.approx(588 / 6, rel=0.02)
    assert lines(caplog) == ["budget_alone", "budget_shared_again"]
    assert "share=1/3" in caplog.text
    assert "s3cret" not in caplog.text


async def test_while_redis_hangs_one_take_in_a_while_pays_for_it(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        budget = in_redis(server.url, clock, timeout=0.1)
        await budget.take()

        clock.now += 1
        server.hang()
        began = time.monotonic()
        first = await budget.take()
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

    assert first == 0.0
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

        waits = await asyncio.gather(*(budget.take() for _ in range(20)))
        await budget.aclose()

    assert waits.count(0.0) == 1
    assert lines(caplog) == ["budget_alone"]


async def test_a_redis_that_never_was_there_is_no_reason_to_refuse_a_call(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    budget = in_redis("redis://127.0.0.1:1/0", clock)

    waits = []
    for _ in range(3):
        waits.append(await budget.take())
        clock.now += 1
    await budget.aclose()

    assert waits == [0.0, 0.0, 0.0]
    with caplog.at_level(logging.WARNING):
        assert lines(caplog) == ["budget_alone"]


async def test_a_key_that_holds_something_else_is_told_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        command(server, "SET", "moe:{budget:w1}", "mine")
        budget = in_redis(server.url, clock)

        waits = [await budget.take() for _ in range(2)]
        await budget.aclose()

    assert waits[0] == 0.0
    assert lines(caplog) == ["budget_alone"]


async def test_a_redis_that_forgot_the_script_is_told_it_again(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as server:
        budget = in_redis(server.url, clock)
        await budget.take()
        command(server, "SCRIPT", "FLUSH")

        wait = await budget.take()
        await budget.aclose()

    assert wait == 0.0
    assert lines(caplog) == []
