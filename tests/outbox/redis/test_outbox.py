"""What an outbox in Redis has to prove beside: on servers that die, hang and fill."""

from __future__ import annotations

import asyncio
import logging
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis

from moe_middleware import Counters, OutboxError, SettingsError
from moe_middleware.network.redis.options import redis_options
from moe_middleware.outbox import Claim, Outbox
from moe_middleware.outbox.redis.connection import TIMEOUT, Call, Connection
from moe_middleware.outbox.redis.outbox import RedisOutbox
from moe_middleware.outbox.redis.scripts import APPEND, TIDY

from ...makers import event
from ...redis_servers import VALKEY, RedisServer, redis_server
from ...servers import PATIENCE

Open = Callable[..., RedisOutbox]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be mistreated."""
    with redis_server(tmp_path, aof=True) as server:
        yield server


@pytest.fixture
def open_redis(redis: RedisServer, tmp_path: Path) -> Iterator[Open]:
    """Opens outboxes, by default on the server and workspace of them all."""
    opened: list[RedisOutbox] = []

    def open_one(url: str = redis.url, **keywords: object) -> RedisOutbox:
        options = {"workspace_id": tmp_path.name, **keywords}
        opened.append(RedisOutbox(url, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for one in opened:
        one.close(timeout=0.5)


def connection_to(redis: RedisServer, workspace: str) -> Connection:
    options = redis_options(redis.url, where="events.outbox", timeout=TIMEOUT)
    return Connection(options, workspace)


async def claimed(outbox: Outbox, limit: int = 1000, relay: str = "") -> list[Claim]:
    return await outbox.claim(limit=limit, lease_for=60, relay=relay)


async def claimed_in_time(outbox: Outbox) -> list[Claim]:
    """Claim again and again until there is something."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if claims := await claimed(outbox):
                return claims
            await asyncio.sleep(0.02)


async def stored_in_time(outbox: Outbox) -> None:
    """Wait until nothing is left in memory, whatever fails in between."""
    async with asyncio.timeout(PATIENCE):
        while not (await outbox.health()).writable:
            await asyncio.sleep(0.02)
        await outbox.flush()


async def uuids_of(outbox: Outbox) -> list[str]:
    waiting = await outbox.waiting(limit=5_000)
    return [one.event.uuid for one in waiting if one.event]


def errors(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(one.getMessage().startswith(name) for one in caplog.records)


# --- opening ---------------------------------------------------------------


def test_no_password_shows_in_names_and_errors(open_redis: Open) -> None:
    url = "redis://:hush@127.0.0.1:1/0"

    outbox = open_redis(url)
    with pytest.raises(SettingsError) as wrong:
        open_redis(f"{url}?socket_keepalive_options=5&max_connections=x")
    with pytest.raises(OutboxError) as failed:
        asyncio.run(outbox.count())

    assert repr(outbox) == "<RedisOutbox 'redis://127.0.0.1:1/0'>"
    assert "hush" not in f"{wrong.value}{failed.value}"


@pytest.mark.parametrize(
    "options",
    [{"tls": True}, {"password": "hush"}, {"binary": VALKEY}],
    ids=["tls", "password", "valkey"],
)
async def test_an_event_goes_its_way_on_every_kind_of_server(
    tmp_path: Path, open_redis: Open, options: dict[str, object]
) -> None:
    events = [event("alice"), event("bob"), event("alice"), event("bob")]
    with redis_server(tmp_path, aof=True, **options) as server:
        outbox = open_redis(server.url)
        outbox.append(events)

        first = await claimed(outbox, 2, relay="one")
        others = await claimed(outbox, relay="two")
        rest = await claimed(outbox, relay="one")
        await outbox.ack([first[0].id])
        await outbox.retry([first[1].id], delay=0)
        await outbox.bury([rest[0].id], reason="400 No")
        await outbox.extend([rest[1].id], lease_for=60)
        again = await claimed(outbox, relay="two")
        letters = await outbox.dead_letters()
        replayed = await outbox.replay()
        counted = await outbox.count()
        outbox.close()

    assert [one.event for one in (*first, *rest)] == events
    assert others == []
    assert [(one.event, one.attempts) for one in again] == [(events[1], 2)]
    assert [(one.event, one.reason) for one in letters] == [(events[2], "400 No")]
    assert (replayed, counted.waiting, counted.dead) == (1, 3, 0)


# --- durable? --------------------------------------------------------------


EVICTS = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")


@pytest.mark.parametrize(
    ("aof", "options", "warned"),
    [
        (True, (), []),
        (False, (), ["outbox_not_durable"]),
        (True, EVICTS, ["outbox_may_be_evicted"]),
    ],
)
async def test_a_redis_that_forgets_is_warned_of_loudly_and_once(
    tmp_path: Path,
    open_redis: Open,
    caplog: pytest.LogCaptureFixture,
    aof: bool,
    options: tuple[str, ...],
    warned: list[str],
) -> None:
    with redis_server(tmp_path, *options, aof=aof) as server:
        outbox = open_redis(server.url)
        await outbox.count()
        server.restart()
        await stored_in_time(outbox)

    events = [one.split()[0] for one in caplog.messages]
    assert [one for one in events if one.startswith(("outbox_not", "outbox_may"))] == (
        warned
    )


async def test_a_redis_that_hides_its_configuration_is_taken_as_it_is(
    tmp_path: Path, open_redis: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        redis_server(tmp_path, "--rename-command", "CONFIG", "") as server,
    ):
        counted = await open_redis(server.url).count()

    assert counted.waiting == 0
    assert caplog.records == []


async def test_events_appended_while_redis_dies_again_and_again_are_stored_once(
    own_redis: RedisServer, open_redis: Open
) -> None:
    outbox = open_redis(own_redis.url)
    events = [event(f"user-{number % 7}") for number in range(3000)]
    halves = threading.Barrier(2)

    def append() -> None:
        for at, one in enumerate(events):
            outbox.append([one])
            if at % 1000 == 500:
                halves.wait(PATIENCE)
            time.sleep(0)

    appending = threading.Thread(target=append)
    appending.start()
    for _ in range(3):
        halves.wait(PATIENCE)
        own_redis.restart()
    appending.join()
    await stored_in_time(outbox)

    assert await uuids_of(outbox) == [one.uuid for one in events]
    counted = await outbox.count()
    assert (counted.unsaved, counted.refused, counted.lost) == (0, 0, 0)


# --- gone, hung, full ------------------------------------------------------


async def test_while_redis_is_gone_events_wait_and_the_log_says_so_once(
    own_redis: RedisServer, open_redis: Open, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = open_redis(own_redis.url)
    outbox.append([event("before")])
    await outbox.flush()

    own_redis.kill()
    outbox.append([event("meanwhile")])
    for _ in range(3):
        with pytest.raises(OutboxError, match=f"127.0.0.1:{own_redis.port}"):
            await claimed(outbox)
    health = await outbox.health()
    own_redis.start()
    await stored_in_time(outbox)
    claims = await claimed(outbox)

    assert (health.writable, health.unsaved) == (False, 1)
    assert str(own_redis.port) in (health.problem or "")
    assert [one.event.customer_id for one in claims] == ["before", "meanwhile"]
    assert errors(caplog, "outbox_failed") == 1
    assert errors(caplog, "outbox_recovered") == 1


async def test_a_hung_redis_holds_no_page_up(
    own_redis: RedisServer, open_redis: Open
) -> None:
    outbox = open_redis(own_redis.url)
    await outbox.flush()
    await outbox.count()
    events = [event() for _ in range(1200)]

    own_redis.hang()
    began = time.perf_counter()
    for one in events:
        outbox.append([one])
    appending = time.perf_counter() - began
    health = await outbox.health(timeout=0.2)
    own_redis.resume()
    await stored_in_time(outbox)

    # Redis would hold each of them for seconds.
    assert appending < 20
    assert not health.writable
    assert await uuids_of(outbox) == [one.uuid for one in events]


async def test_a_claim_that_is_cancelled_is_given_back(
    own_redis: RedisServer, open_redis: Open
) -> None:
    outbox = open_redis(own_redis.url)
    outbox.append([event("alice")])
    await outbox.flush()

    own_redis.hang()
    claim = asyncio.create_task(claimed(outbox, relay="one"))
    # Sent, and not answered.
    await asyncio.sleep(0.2)
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    own_redis.resume()

    assert len(await claimed_in_time(outbox)) == 1


def test_what_is_lost_by_a_close_does_not_hold_up_what_comes_after(
    own_redis: RedisServer, open_redis: Open
) -> None:
    """Another exit handler may still append, with events of its own."""
    own_redis.kill()
    outbox = open_redis(own_redis.url)
    outbox.append([event("lost")])

    outbox.close(timeout=0.1)
    own_redis.start()
    outbox.append([event("kept")])
    outbox.close(timeout=PATIENCE)
    stored = asyncio.run(outbox.waiting())
    counted = asyncio.run(outbox.count())

    assert [one.event and one.event.customer_id for one in stored] == ["kept"]
    assert (counted.waiting, counted.lost) == (1, 1)


async def test_closing_while_redis_hangs_is_bounded_and_counts_what_is_lost(
    own_redis: RedisServer, open_redis: Open, caplog: pytest.LogCaptureFixture
) -> None:
    counters = Counters()
    outbox = open_redis(own_redis.url, observer=counters)
    own_redis.hang()
    outbox.append([event(), event()])

    began = time.perf_counter()
    outbox.close(timeout=0.1)
    took = time.perf_counter() - began

    assert took < 1.9
    assert counters.snapshot()["events.lost"] == 2
    assert errors(caplog, "events_lost") == 1


async def test_a_full_redis_lets_acks_through_and_events_wait(
    tmp_path: Path, open_redis: Open
) -> None:
    with redis_server(tmp_path, aof=True) as server, Redis.from_url(server.url) as raw:
        outbox = open_redis(server.url)
        outbox.append([event("alice"), event("bob"), event("bob")])
        claims = await claimed(outbox, 2)
        used = raw.info("memory")["used_memory"]
        raw.set("filler", b"x" * 3_000_000)
        raw.config_set("maxmemory", used)
        outbox.append([event("later")])

        health = await outbox.health()
        await outbox.ack([claim.id for claim in claims])
        await outbox.bury([claims[0].id], reason="gone")
        raw.delete("filler")
        raw.config_set("maxmemory", 0)
        await stored_in_time(outbox)
        left = await claimed(outbox)

    assert (health.writable, health.unsaved) == (False, 1)
    assert "its memory is full: raise its maxmemory" in (health.problem or "")
    assert [one.event.customer_id for one in left] == ["bob", "later"]


async def test_an_emptied_redis_is_begun_anew(
    own_redis: RedisServer, open_redis: Open
) -> None:
    outbox = open_redis(own_redis.url)
    outbox.append([event("before")])
    [late] = await claimed(outbox)
    with Redis.from_url(own_redis.url) as raw:
        raw.flushall()

    outbox.append([event("after")])
    await outbox.ack([late.id])
    claims = await claimed(outbox)

    assert [one.event.customer_id for one in claims] == ["after"]


# --- sent twice ------------------------------------------------------------


async def test_a_batch_is_stored_once_and_never_before_an_earlier_one(
    redis: RedisServer, tmp_path: Path, open_redis: Open
) -> None:
    """Sent again after a lost answer, it is stored once; a gap is an error."""
    connection = connection_to(redis, tmp_path.name)

    def append(first: int, last: int, after: int, known: int, most: int = 9) -> Call:
        values = (first, last, after, known, 0, 0, most, "refuse", "")
        packed = (struct.pack(">II", 1, 2) + b"{}") * (last - first + 1)
        return Call(APPEND, (*values, packed, 60), writer="w")

    calls = [
        append(1, 1, 0, 0),
        append(3, 3, 2, 0),
        # Again, with a record more; then after a restart of Redis that lost it all.
        append(1, 2, 0, 0),
        append(9, 9, 8, 8),
        # There is room for one of three; when it is sent again, two are refused still.
        *[append(10, 12, 9, 9, most=4)] * 2,
    ]
    first, third, again, later, *refused = connection.run(calls)
    waiting = await open_redis().waiting()
    connection.close()

    assert first == again == later == [0, 0]
    assert isinstance(third, OutboxError)
    assert refused == [[2, 0]] * 2
    assert len(waiting) == 4


# --- relays ----------------------------------------------------------------


async def test_a_dead_relays_claims_go_to_another_after_its_lease(
    open_redis: Open,
) -> None:
    """By the clock of Redis: those of the hosts may differ."""
    outbox = open_redis()
    events = [event("alice"), event("bob"), event("alice")]
    outbox.append(events)
    dead = await outbox.claim(limit=2, lease_for=0.2, relay="dead")

    claims = await claimed_in_time(outbox)
    while len(claims) < 3:
        claims += await claimed_in_time(outbox)

    assert len(dead) == 2
    assert sorted(claim.attempts for claim in claims) == [1, 2, 2]
    alices = [one.event for one in claims if one.event.customer_id == "alice"]
    assert alices == [events[0], events[2]]


async def test_a_customer_who_is_held_up_holds_up_no_other(
    open_redis: Open,
) -> None:
    outbox = open_redis()
    outbox.append([event("busy")] * 2500)
    outbox.append([event("bob")])
    [first] = await claimed(outbox, 1, relay="one")

    others = await claimed(outbox, relay="two")
    mine = await claimed(outbox, relay="one")
    await outbox.retry([claim.id for claim in (first, *mine)], delay=0)
    again = await claimed(outbox, relay="two")

    assert [one.event.customer_id for one in others] == ["bob"]
    assert len(mine) == len(again) == 1000
    assert again[0].id == first.id


async def test_redis_own_tools_show_what_is_claimed(
    redis: RedisServer, open_redis: Open, tmp_path: Path
) -> None:
    outbox = open_redis()
    outbox.append([event("alice"), event("bob")])
    claims = await claimed(outbox, relay="one")
    await outbox.ack([claims[0].id])
    connection = connection_to(redis, tmp_path.name)
    await outbox.ack([one.id for one in await claimed(outbox, relay="idle")])
    await claimed(outbox, 1, relay="idle")
    time.sleep(0.01)
    connection.run([Call(TIDY, (0,))])
    connection.close()

    with Redis.from_url(redis.url) as raw:
        stream = f"moe-outbox:1:{{{tmp_path.name}}}:events"
        pending = raw.xpending(stream, "relay")
        length = raw.xlen(stream)

    assert length == 1
    assert pending["pending"] == 1
    [consumer] = pending["consumers"]
    assert consumer == {"name": b"one", "pending": 1}


async def test_dead_letters_are_replayed_many_at_a_time(open_redis: Open) -> None:
    outbox = open_redis()
    outbox.append([event(f"user-{number}") for number in range(1300)])
    ids: list[int | str] = []
    for _ in range(2):
        ids += [claim.id for claim in await claimed(outbox)]
    await outbox.bury(ids, reason="no")

    letters = await outbox.dead_letters(limit=5000)
    replayed = [
        await outbox.replay(ids=ids[:600]),
        await outbox.replay(limit=550),
        await outbox.replay(),
    ]
    counted = await outbox.count()

    assert [letter.id for letter in letters] == ids[::-1]
    assert replayed == [600, 550, 150]
    assert (counted.waiting, counted.dead) == (1300, 0)


# --- processes -------------------------------------------------------------


APPEND_AND_END = """
import sys
from moe_middleware.outbox.redis.outbox import RedisOutbox
from tests.makers import event
outbox = RedisOutbox(sys.argv[1], workspace_id=sys.argv[2])
outbox.append([event() for _ in range(1000)])
"""


async def test_a_script_that_just_ends_has_stored_its_events(
    redis: RedisServer, open_redis: Open, tmp_path: Path
) -> None:
    arguments: Sequence[str] = (redis.url, tmp_path.name)

    subprocess.run([sys.executable, "-c", APPEND_AND_END, *arguments], check=True)

    assert (await open_redis().count()).waiting == 1000
