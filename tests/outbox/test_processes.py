"""What processes note of themselves, and what is read of it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from moe_middleware.models.errors import (
    AuthenticationError,
    OutboxError,
    RateLimitedError,
    TransportError,
)
from moe_middleware.models.observers import Counters
from moe_middleware.models.reasons import Reason
from moe_middleware.outbox import MemoryOutbox, SQLiteOutbox
from moe_middleware.outbox.process_status import (
    delivery_of,
    problem_of,
    read_processes,
    read_totals,
)
from moe_middleware.outbox.processes import FORGOTTEN_AFTER, ProcessNotes

NOW = 1_800_000_000.0


def relay(**state: Any) -> dict[str, Any]:
    return {
        "failures": 0,
        "problem": None,
        "delivered": 0,
        "delivered_at": None,
        "failed_at": None,
        "next_try_at": None,
        **state,
    }


async def noted(outbox: Any, **kept: Any) -> None:
    name = str(kept["process"])
    await outbox.note(name, orjson.dumps({"noted_at": NOW, "started_at": NOW, **kept}))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, None),
        (AuthenticationError(status=401), "credentials refused"),
        (RateLimitedError(retry_after=3), "rate limited"),
        (TransportError("refused"), "MoEngage unreachable"),
        (OutboxError("full"), "outbox unwritable"),
        (Reason.UNAUTHORIZED, "credentials refused"),
        (ValueError("what a customer wrote"), "error ValueError"),
    ],
)
def test_a_problem_has_words_to_look_for(error: object, words: str | None) -> None:
    assert problem_of(error) == words


@pytest.mark.parametrize("note", [b"{", b"[]", b"7", b'{"process": "x:1"}'])
async def test_a_note_of_another_version_is_read_as_far_as_it_goes(note: bytes) -> None:
    outbox = MemoryOutbox()
    await outbox.note("x:1:server", note)

    [found] = await read_processes(outbox, clock=lambda: NOW)

    assert found["silent"]
    assert delivery_of([found])["relays"] == 0


async def test_a_process_notes_itself_and_takes_it_back(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(str(tmp_path / "outbox.db"))
    notes = ProcessNotes(
        outbox,
        "relay",
        lambda: {"relay": relay(delivered=90), "problem": None, "counters": {"a": 2}},
        clock=lambda: NOW,
    )
    await noted(outbox, process="gone:1", noted_at=NOW - 90_000, counters={"a": 40})
    await noted(outbox, process="here:2", noted_at=NOW - 80_000, counters={"a": 500})
    assert FORGOTTEN_AFTER == 86_400

    running = asyncio.create_task(notes.run())
    mine: list[dict[str, Any]] = []
    while not mine:
        await asyncio.sleep(0.01)
        found = await read_processes(outbox, clock=lambda: NOW)
        mine = [one for one in found if one.get("version")]
    during = await read_totals(outbox)
    running.cancel()
    await notes.end()
    await notes.end()
    left = await read_processes(outbox, clock=lambda: NOW)
    after = await read_totals(outbox)
    outbox.close()

    assert [(one["role"], one["silent"]) for one in mine] == [("relay", False)]
    assert mine[0]["relay"]["delivered"] == 90
    # All of them within its first second, and so within this minute.
    assert mine[0]["relay"]["delivered_per_minute"] == 90
    assert [one["process"] for one in left] == ["here:2"]
    assert during["counters"] == after["counters"] == {"a": 542}


async def test_processes_of_this_host_that_were_killed_are_seen_to_be_gone() -> None:
    outbox, here = MemoryOutbox(), socket.gethostname()
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    minute = {"noted_at": NOW - 60, "counters": {"a": 1}}
    await noted(outbox, process=f"{here}:{killed.pid}", **minute)
    await noted(outbox, process=f"{here}:{os.getppid()}", **minute)
    # One that had this process's id before it, as in a container.
    await noted(outbox, process=f"{here}:{os.getpid()}", **minute)
    notes = ProcessNotes(
        outbox, "server", lambda: {"relay": None, "counters": {}}, clock=lambda: NOW
    )

    running = asyncio.create_task(notes.run())
    found: list[dict[str, Any]] = []
    while not any(one.get("version") for one in found):
        await asyncio.sleep(0.01)
        found = await read_processes(outbox, clock=lambda: NOW)
    running.cancel()

    silent = [one["process"] for one in found if one["silent"]]
    assert silent == [f"{here}:{os.getppid()}"]
    assert (await read_totals(outbox))["counters"] == {"a": 3}


async def test_those_who_end_at_once_are_all_in_the_totals(tmp_path: Path) -> None:
    path = str(tmp_path / "outbox.db")
    outboxes = [SQLiteOutbox(path) for _ in range(8)]
    await asyncio.gather(
        *(
            ProcessNotes(
                outbox,
                "server",
                lambda: {"relay": None, "counters": {"a": 1, "b": 0.5}},
            ).end(30)
            for outbox in outboxes
        )
    )
    totals = await read_totals(outboxes[0])
    for outbox in outboxes:
        outbox.close()

    assert totals["counters"] == {"a": 8, "b": 4}


async def test_what_a_process_served_before_a_fork_is_counted_once(
    tmp_path: Path,
) -> None:
    counters, outbox = Counters(), SQLiteOutbox(str(tmp_path / "outbox.db"))

    def described() -> dict[str, Any]:
        return {"relay": None, "counters": dict(counters.snapshot())}

    notes = ProcessNotes(outbox, "server", described)
    counters.events("appended", 3)
    await notes.end()
    # Not yet in the totals.
    counters.events("appended", 1)
    if (child := os.fork()) == 0:
        counters.events("appended", 500)
        # An event loop runs in this thread, as far as the child knows.
        ending = threading.Thread(target=asyncio.run, args=(notes.end(30),))
        ending.start()
        ending.join()
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    await notes.end()
    totals = await read_totals(outbox)
    outbox.close()

    assert totals["counters"] == {"events.appended": 504}


async def test_a_store_that_fails_ends_no_process(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(str(tmp_path / "missing" / "outbox.db"))
    notes = ProcessNotes(outbox, "server", lambda: {"relay": None, "counters": {}})

    running = asyncio.create_task(notes.run())
    done, _ = await asyncio.wait([running], timeout=1.5)
    running.cancel()
    await notes.end()
    outbox.close()

    assert not done


def test_deliveries_are_reported_together() -> None:
    waiting = relay(
        failures=2, problem="credentials refused", failed_at=NOW, next_try_at=NOW + 9
    )
    well = relay(delivered_per_minute=60.0, failed_at=NOW - 50)
    server = {"relay": None, "silent": False}
    silent = {"relay": relay(delivered_per_minute=7.0), "silent": True}
    one, other = ({"relay": state, "silent": False} for state in (waiting, well))

    assert delivery_of([one, other, server, silent]) == {
        "relays": 2,
        "delivered_per_minute": 60.0,
        "failed_at": NOW,
        # The other one does not wait.
        "next_try_at": None,
        "delivery_problem": "credentials refused",
    }
    assert delivery_of([one])["next_try_at"] == NOW + 9
    assert delivery_of([])["relays"] == 0
