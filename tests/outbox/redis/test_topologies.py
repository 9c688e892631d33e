"""An outbox in a cluster and behind sentinels: what Redis confirmed is not lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from moe_middleware.outbox.redis import connection
from moe_middleware.outbox.redis.outbox import RedisOutbox

from ...makers import event
from ...redis_topologies import Pair
from ...servers import PATIENCE
from .test_outbox import stored_in_time, uuids_of

Open = Callable[..., RedisOutbox]


@pytest.fixture(params=["cluster", "sentinels"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def open_on() -> Iterator[Open]:
    opened: list[RedisOutbox] = []

    def open_one(pair: Pair, **keywords: object) -> RedisOutbox:
        options = {"workspace_id": pair.name(), **keywords}
        opened.append(RedisOutbox(pair.url, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for one in opened:
        one.close(timeout=0.5)


async def test_an_event_goes_its_way(pair: Pair, open_on: Open) -> None:
    outbox = open_on(pair)
    events = [event(name) for name in ("alice", "bob", "carol")]
    outbox.append(events)

    claims = await outbox.claim(limit=10, lease_for=60, relay="one")
    await outbox.ack([claims[0].id])
    await outbox.bury([claims[1].id], reason="400 No")
    await outbox.extend([claims[2].id], lease_for=60)
    letters = await outbox.dead_letters()
    replayed = await outbox.replay()
    await outbox.note("one", b"1")
    counted = await outbox.count()

    assert [claim.event for claim in claims] == events
    assert [letter.event for letter in letters] == [events[1]]
    assert (replayed, counted.waiting, counted.dead) == (1, 2, 0)
    assert await outbox.notes() == {"one": b"1"}


@pytest.mark.parametrize(
    ("pair", "how"),
    [("cluster", "killed"), ("sentinels", "planned")],
    indirect=["pair"],
)
async def test_a_failover_under_load_loses_nothing(
    pair: Pair, open_on: Open, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    outbox = open_on(pair)
    events = [event(f"user-{number}") for number in range(3_000)]
    half = threading.Event()

    def append() -> None:
        for number, one in enumerate(events):
            outbox.append([one])
            if number == len(events) // 2:
                half.set()
            if number % 50 == 0:
                half.wait(0.01)

    thread = threading.Thread(target=append)
    thread.start()
    half.wait(PATIENCE)
    if how == "killed":
        former = await asyncio.to_thread(pair.kill_primary)
        await asyncio.to_thread(pair.wait_for_failover, former)
    else:
        former = await asyncio.to_thread(pair.fail_over)
    # Behind sentinels, the former one takes events until it is demoted.
    outbox.append(later := [event("afterwards") for _ in range(10)])
    thread.join()
    await asyncio.to_thread(pair.heal, former)
    await stored_in_time(outbox)
    found = await uuids_of(outbox)

    assert sorted(found) == sorted(one.uuid for one in (*events, *later))
    failures = [one for one in caplog.messages if one.startswith("outbox_failed")]
    assert len(failures) <= 1


@contextmanager
def without_replica(pair: Pair) -> Iterator[None]:
    """Let the replica hang: it is there, and confirms nothing."""
    replica = pair.replica
    replica.hang()
    try:
        yield
    finally:
        replica.resume()
        pair.wait_until_whole()


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while text not in caplog.text:
            await asyncio.sleep(0.02)


async def test_events_wait_here_until_as_many_replicas_have_them_as_must(
    sentinels: Pair, open_on: Open, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = open_on(sentinels, replicas=1)
    outbox.append([event("alice")])
    await stored_in_time(outbox)
    before = (await outbox.count()).unsaved

    with without_replica(sentinels):
        outbox.append([event("bob")])
        await logged(caplog, "0 of 1 replicas have the events")
        for _ in range(2):  # each tries again
            await outbox.health(timeout=5)
        kept = (await outbox.count()).unsaved
    await stored_in_time(outbox)

    assert (before, kept) == (0, 1)
    assert len(await uuids_of(outbox)) == 2


async def test_without_any_replica_events_are_stored_after_a_while_and_a_line_says_so(
    sentinels: Pair,
    open_on: Open,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "WITHOUT_AFTER", 1.0)
    caplog.set_level(logging.WARNING)
    outbox = open_on(sentinels)
    with without_replica(sentinels):
        for _ in range(3):
            outbox.append([event("alice")])
            await stored_in_time(outbox)

    events = [line.split()[0] for line in caplog.messages]
    assert sorted(events) == [
        "outbox_failed",
        "outbox_not_replicated",
        "outbox_recovered",
    ]
    assert len(await uuids_of(outbox)) == 3
