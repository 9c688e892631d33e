from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moe_middleware.outbox import SQLiteOutbox

from ..makers import event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


async def test_nothing_is_opened_before_the_first_use(path: Path) -> None:
    outbox = SQLiteOutbox(str(path))

    existed = path.exists()
    await outbox.flush()
    outbox.close()

    assert not existed
    assert path.exists()


async def test_events_outlive_the_outbox_that_took_them(path: Path) -> None:
    first = SQLiteOutbox(str(path))
    first.append([event("alice")])
    first.close()

    second = SQLiteOutbox(str(path))
    [claim] = await second.claim(limit=10, lease_for=30)
    second.close()

    assert claim.event.customer_id == "alice"


APPEND_AND_DIE = """
import asyncio, os, signal, sys
from moe_middleware import SQLiteOutbox
from tests.makers import event
outbox = SQLiteOutbox(sys.argv[1])
for _ in range(1000):
    outbox.append([event()])
asyncio.run(outbox.flush())
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_flushed_events_survive_sigkill(path: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", APPEND_AND_DIE, str(path)], check=False
    )

    outbox = SQLiteOutbox(str(path))
    counted = await outbox.count()
    outbox.close()

    assert died.returncode == -signal.SIGKILL
    assert counted.waiting == 1000


async def test_two_outboxes_on_one_file_never_claim_the_same_event(path: Path) -> None:
    outboxes = [SQLiteOutbox(str(path)) for _ in range(2)]
    outboxes[0].append([event() for _ in range(200)])
    await outboxes[0].flush()

    claimed = []
    for _ in range(10):
        for outbox in outboxes:
            claimed += await outbox.claim(limit=10, lease_for=30)
    for outbox in outboxes:
        outbox.close()

    assert len({claim.id for claim in claimed}) == len(claimed) == 200


async def test_many_threads_append_without_loss(path: Path) -> None:
    outbox = SQLiteOutbox(str(path))

    def append() -> None:
        for _ in range(250):
            outbox.append([event()])

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (await outbox.count()).waiting == 1000
    outbox.close()


async def test_a_file_that_cannot_be_written_keeps_events_until_it_can(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = path.parent / "later"
    outbox = SQLiteOutbox(str(folder / "outbox.db"))

    with caplog.at_level(logging.ERROR):
        outbox.append([event(), event()])
        with pytest.raises(sqlite3.OperationalError):
            await outbox.flush()
        folder.mkdir()
        counted = await outbox.count()
    outbox.close()

    assert counted.waiting == 2
    assert "outbox_failed" in caplog.text


async def test_an_unreadable_row_becomes_a_dead_letter(path: Path) -> None:
    outbox = SQLiteOutbox(str(path))
    outbox.append([event()])
    await outbox.flush()
    with sqlite3.connect(path) as db:
        db.execute("insert into event (body, claimable_at) values ('{}', 0)")
    db.close()

    claims = await outbox.claim(limit=10, lease_for=30)
    counted = await outbox.count()
    outbox.close()

    assert len(claims) == 1
    assert (counted.waiting, counted.dead) == (1, 1)


async def test_a_forked_child_appends_through_a_writer_of_its_own(path: Path) -> None:
    outbox = SQLiteOutbox(str(path))
    outbox.append([event("parent")])
    await outbox.flush()

    child = os.fork()
    if child == 0:
        outbox.append([event("child")])
        outbox.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    claims = await outbox.claim(limit=10, lease_for=30)
    outbox.close()

    assert status == 0
    assert [claim.event.customer_id for claim in claims] == ["parent", "child"]


def test_its_name_shows_in_its_repr(path: Path) -> None:
    assert "outbox.db" in repr(SQLiteOutbox(str(path)))
