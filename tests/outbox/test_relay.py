from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from moe_middleware import Event, MemoryOutbox, SQLiteOutbox
from moe_middleware.models.errors import (
    APIError,
    AuthenticationError,
    DeadlineError,
    InvalidRequestError,
    OutboxError,
)
from moe_middleware.models.observers import Counters
from moe_middleware.outbox import Claim, Outbox
from moe_middleware.outbox.relay import Relay

from ..makers import event

PATIENCE = 20.0
"""Seconds that nothing here should take."""


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_725_258_666.0

    def __call__(self) -> float:
        return self.now


class Service:
    """Takes reports as the API does: wholly or not at all, each uuid once."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.poison: set[str] = set()
        self.most = 10_000
        self.reports: list[list[str]] = []
        self.stored: list[Event] = []
        self.under_way = 0
        self.most_under_way = 0

    async def report(self, events: Sequence[Event]) -> None:
        self.reports.append([one.uuid for one in events])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.take(events)
        finally:
            self.under_way -= 1

    async def take(self, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        if self.poison & {one.uuid for one in events}:
            raise InvalidRequestError(status=400, title="Invalid Field Value")
        if len(events) > self.most:
            raise InvalidRequestError(status=413, title="Too large")
        self.stored += events

    @property
    def stored_uuids(self) -> list[str]:
        return [one.uuid for one in self.stored]


class SlowService(Service):
    """Takes a report when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def take(self, events: Sequence[Event]) -> None:
        self.begun.set()
        await self.go_on.wait()
        await super().take(events)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def outbox(clock: Clock) -> Outbox:
    return MemoryOutbox(clock=clock)


def relay(outbox: Outbox, service: Service, **options: Any) -> Relay:
    defaults: dict[str, Any] = {
        "interval": 0.01,
        "jitter": lambda: 0.0,
        "clock": Clock(),
    }
    return Relay(outbox, service.report, **(defaults | options))


async def deliver_through(relay: Relay, clock: Clock) -> int:
    """Deliver until a round meets no failure; return how many rounds that took."""
    for rounds in itertools.count(1):
        pause = await relay.deliver(to_the_end=True)
        clock.now += pause
        if not pause:
            return rounds
    raise AssertionError


def users(count: int, events: int) -> list[Event]:
    return [event(f"user-{number % count}") for number in range(events)]


# --- delivery --------------------------------------------------------------


@pytest.mark.parametrize("people", [1, 450, 2000])
async def test_what_waits_is_delivered_once_in_full_reports(
    outbox: Outbox, service: Service, people: int
) -> None:
    events = users(people, 2000)
    outbox.append(events)

    await relay(outbox, service).deliver()

    assert sorted(service.stored_uuids) == sorted(one.uuid for one in events)
    assert (await outbox.count()).waiting == 0
    if people == 2000:
        assert [len(uuids) for uuids in service.reports] == [100] * 20


async def test_so_many_reports_are_under_way_at_once(outbox: Outbox) -> None:
    service = SlowService()
    outbox.append(users(1000, 1000))

    delivering = asyncio.create_task(relay(outbox, service, parallel=3).deliver())
    while len(service.reports) < 3:
        await asyncio.sleep(0)
    service.go_on.set()
    await delivering

    assert service.most_under_way == 3
    assert len(service.stored) == 1000


async def test_a_users_events_arrive_in_order_whatever_fails(
    outbox: Outbox, clock: Clock
) -> None:
    chance = random.Random(5)

    class Moody(Service):
        async def take(self, events: Sequence[Event]) -> None:
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            if chance.random() < 0.2:
                raise APIError(status=503)
            await super().take(events)

    service = Moody()
    events = users(60, 3000)
    service.poison = {events[number].uuid for number in (7, 700, 2999)}
    outbox.append(events)

    rounds = await deliver_through(relay(outbox, service), clock)

    expected, arrived = defaultdict(list), defaultdict(list)
    for one in events:
        if one.uuid not in service.poison:
            expected[one.customer_id].append(one.uuid)
    for one in service.stored:
        arrived[one.customer_id].append(one.uuid)
    assert arrived == expected
    assert rounds > 1


async def test_a_few_events_are_not_asked_for_more_at_once(service: Service) -> None:
    class Counting(MemoryOutbox):
        claims = 0

        async def claim(self, **how: Any) -> list[Claim]:
            self.claims += 1
            return await super().claim(**how)

    outbox = Counting()
    outbox.append(users(10, 30))

    await relay(outbox, service).deliver()

    assert outbox.claims == 1
    assert len(service.stored) == 30


async def test_the_observer_is_called(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    counters = Counters()
    events = users(100, 100)
    service.failures = [APIError(status=503)]
    service.poison = {events[5].uuid}
    outbox.append(events)

    observed = relay(outbox, service, observer=counters)
    await deliver_through(observed, clock)

    assert counters.snapshot() == {
        "events.retried": 100,
        "events.delivered": 99,
        "events.buried": 1,
    }


# --- failures --------------------------------------------------------------


async def test_a_failed_report_is_sent_again_with_the_same_uuids(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    sent = event()
    outbox.append([sent])
    service.failures = [APIError(status=503), DeadlineError(), RuntimeError()]

    rounds = await deliver_through(relay(outbox, service), clock)

    assert rounds == 4
    assert service.reports == [[sent.uuid]] * 4
    assert service.stored == [sent]


async def test_a_failure_ends_the_round_and_gives_back_its_claims(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    outbox.append(users(250, 250))
    service.failures = [APIError(status=503)]

    pause = await relay(outbox, service, parallel=1).deliver()
    while_paused = await outbox.claim(limit=1000, lease_for=1)
    clock.now += pause
    afterwards = await outbox.claim(limit=1000, lease_for=1)

    assert pause == 0.25
    assert len(service.reports) == 1
    assert while_paused == []
    assert len(afterwards) == 250


async def test_while_reports_fail_one_tries_for_all_and_pauses_grow(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    outbox.append(users(2000, 2000))
    service.failures = [APIError(status=503) for _ in range(6)]
    tried = relay(outbox, service, parallel=4)
    pauses, reports = [], []

    for _ in range(3):
        pauses.append(await tried.deliver())
        reports.append(len(service.reports))
        clock.now += pauses[-1]

    assert reports == [4, 5, 6]
    # With the outage, not with the reports under way.
    assert pauses == [0.25, 0.5, 1.0]
    assert tried.state.failures == 3

    await deliver_through(tried, clock)
    assert len(service.stored) == 2000
    assert tried.state.failures == 0


async def test_wrong_credentials_keep_everything_and_are_logged_once(
    outbox: Outbox,
    service: Service,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox.append([event("a-customer")])
    service.failures = [AuthenticationError(status=401) for _ in range(5)]

    rounds = await deliver_through(relay(outbox, service), clock)

    refused = [one for one in caplog.records if "refused" in one.message]
    assert rounds == 6
    assert [one.levelno for one in refused] == [logging.ERROR]
    assert "retry_in=15" in refused[0].message
    assert "reports_arrive_again failures=5" in caplog.text
    assert "a-customer" not in caplog.text
    assert len(service.stored) == 1


async def test_another_failure_is_reported_at_once(
    outbox: Outbox,
    service: Service,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox.append([event()])
    service.failures = [
        *(APIError(status=503), APIError(status=500)),
        AuthenticationError(status=403),
    ]

    await deliver_through(relay(outbox, service), clock)

    assert [one.message.split()[0] for one in caplog.records] == [
        "report_failed",
        "credentials_refused",
        "reports_arrive_again",
    ]


async def test_the_relay_goes_on_after_its_outbox_failed(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(MemoryOutbox):
        broken = 3

        async def claim(self, **how: Any) -> list[Claim]:
            if self.broken:
                self.broken -= 1
                raise OutboxError("disk")
            return await super().claim(**how)

    outbox = Failing()
    outbox.append([event()])
    relaying = relay(outbox, service)

    running = asyncio.create_task(relaying.run())
    async with asyncio.timeout(PATIENCE):
        while not service.stored:
            await asyncio.sleep(0.01)
        relaying.stop()
        await running

    assert "relay_failed error=OutboxError" in caplog.text


async def test_what_arrived_is_not_sent_again_because_an_ack_failed(
    service: Service,
) -> None:
    class Failing(MemoryOutbox):
        broken = 1

        async def ack(self, ids: Sequence[Any]) -> None:
            if self.broken:
                self.broken -= 1
                raise OutboxError("busy")
            await super().ack(ids)

    outbox = Failing()
    outbox.append(users(1000, 1000))
    relaying = relay(outbox, service)

    with pytest.raises(OutboxError):
        await relaying.deliver()
    await relaying.deliver()

    assert len(service.stored) == len(set(service.stored_uuids)) == 1000
    assert (await outbox.count()).waiting == 0


# --- poison ----------------------------------------------------------------


async def test_one_poison_event_among_a_thousand_is_the_only_one_buried(
    outbox: Outbox, service: Service
) -> None:
    events = users(1000, 1000)
    service.poison = {events[399].uuid}
    outbox.append(events)

    await relay(outbox, service).deliver()

    [letter] = await outbox.dead_letters()
    assert letter.event == events[399]
    assert letter.reason == "400 Invalid Field Value"
    assert len(service.stored) == len(set(service.stored_uuids)) == 999
    assert (await outbox.count()).waiting == 0
    # Ten reports, then two for each time that a hundred is halved at most.
    assert len(service.reports) <= 10 + 2 * 7


async def test_several_poison_events_are_each_buried(
    outbox: Outbox, service: Service
) -> None:
    events = users(100, 200)
    service.poison = {events[place].uuid for place in (3, 4, 90, 103, 199)}
    outbox.append(events)

    await relay(outbox, service).deliver()

    assert {one.event.uuid for one in await outbox.dead_letters() if one.event} == (
        service.poison
    )
    assert len(service.stored) == len(set(service.stored_uuids)) == 195


async def test_a_report_that_is_too_large_goes_out_in_halves(
    outbox: Outbox, service: Service
) -> None:
    service.most = 30
    outbox.append(users(100, 100))

    await relay(outbox, service).deliver()

    assert [len(uuids) for uuids in service.reports] == [100, 50, 25, 25, 50, 25, 25]
    assert len(service.stored) == 100
    assert (await outbox.count()).dead == 0


async def test_a_failure_while_halving_sends_nothing_twice(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    class Failing(Service):
        async def take(self, events: Sequence[Event]) -> None:
            if len(self.reports) == 4:
                raise APIError(status=503)
            await super().take(events)

    service = Failing()
    events = users(100, 100)
    service.poison = {events[99].uuid}
    outbox.append(events)

    await deliver_through(relay(outbox, service), clock)

    assert len(service.stored) == len(set(service.stored_uuids)) == 99
    assert (await outbox.count()).dead == 1


async def test_what_one_relay_is_refused_another_with_the_right_key_delivers_at_once(
    outbox: Outbox, service: Service
) -> None:
    outbox.append([event("a-customer") for _ in range(5)])
    service.failures = [AuthenticationError(status=401)]

    await relay(outbox, service).deliver()
    pause = await relay(outbox, service).deliver()

    assert pause == 0.0
    assert len(service.stored) == 5


# --- age -------------------------------------------------------------------


async def test_a_clock_that_jumps_ahead_buries_nothing(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    outbox.append([event(occurred_at=int(clock.now))])
    service.failures = [APIError(status=503, title="Down") for _ in range(3)]
    wall = Clock()
    tried = relay(outbox, service, max_age=60.0, clock=wall, stopwatch=lambda: 100.0)
    await tried.deliver()
    wall.now += 86_400
    clock.now += 86_400

    await deliver_through(tried, clock)

    assert len(service.stored) == 1
    assert (await outbox.count()).dead == 0


async def test_an_event_that_was_tried_for_too_long_is_buried_with_the_reason(
    outbox: Outbox, service: Service, clock: Clock
) -> None:
    old, young = (event(occurred_at=int(clock.now) - age) for age in (90, 10))
    outbox.append([old, young])
    service.failures = [APIError(status=503, title="Down") for _ in range(2)]
    tried = relay(outbox, service, max_age=60.0)

    await deliver_through(tried, clock)

    [letter] = await outbox.dead_letters()
    assert letter.event == old
    assert letter.reason == "older than 60 seconds; last: 503 Down"
    assert service.stored == [young]


# --- the end ---------------------------------------------------------------


async def test_until_empty_gives_up_an_outbox_that_is_not_there_for_a_minute(
    tmp_path: Path,
) -> None:
    outbox = SQLiteOutbox(str(tmp_path / "missing" / "outbox.db"))
    wall = Clock()

    def stopwatch() -> float:
        wall.now += 7
        return wall.now

    with pytest.raises(OutboxError):
        await asyncio.wait_for(
            relay(outbox, Service(), stopwatch=stopwatch).run(until_empty=True),
            PATIENCE,
        )
    outbox.close()


async def test_a_stopped_relay_ends_with_the_reports_under_way() -> None:
    outbox, service = MemoryOutbox(), SlowService()
    outbox.append(users(1000, 1000))
    relaying = relay(outbox, service, parallel=2)
    running = asyncio.create_task(relaying.run())
    await service.begun.wait()

    relaying.stop()
    service.go_on.set()
    await asyncio.wait_for(running, PATIENCE)

    given_back = await outbox.claim(limit=1000, lease_for=1)
    assert 1 <= len(service.reports) <= 2
    assert len(given_back) == 1000 - len(service.stored)


async def test_a_drain_lets_the_running_relay_end_and_delivers_the_rest() -> None:
    outbox, service = MemoryOutbox(), SlowService()
    outbox.append(users(1000, 1000))
    relaying = relay(outbox, service)
    running = asyncio.create_task(relaying.run())
    await service.begun.wait()

    draining = asyncio.create_task(relaying.drain(PATIENCE))
    service.go_on.set()
    await draining

    assert running.done()
    assert len(service.stored) == len(set(service.stored_uuids)) == 1000


async def test_a_drain_ends_a_running_relay_that_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox, service = MemoryOutbox(), SlowService()
    outbox.append(users(10, 10))
    relaying = relay(outbox, service)
    running = asyncio.create_task(relaying.run())
    await service.begun.wait()

    await asyncio.wait_for(relaying.drain(1.0), PATIENCE)

    await asyncio.wait([running], timeout=PATIENCE)
    assert running.done()
    assert len(await outbox.claim(limit=100, lease_for=1)) == 10
    assert "drain_cut timeout=1" in caplog.text


@pytest.mark.parametrize("operation", ["flush", "claim", "ack", "retry"])
async def test_a_drain_is_cut_in_time_where_the_outbox_hangs(operation: str) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    outbox, service = MemoryOutbox(), Service()
    setattr(outbox, operation, hang)
    outbox.append(users(10, 10))
    if operation == "retry":
        service.failures = [APIError(status=503)]

    await asyncio.wait_for(relay(outbox, service).drain(0.2), PATIENCE)

    assert (await outbox.count()).waiting == 10


async def test_a_drain_ends_at_the_first_failure(service: Service) -> None:
    outbox = MemoryOutbox()
    outbox.append(users(100, 100))
    service.failures = [APIError(status=503) for _ in range(100)]

    await asyncio.wait_for(relay(outbox, service).drain(3600), PATIENCE)

    assert len(service.reports) == 1


async def test_a_cancelled_relay_gives_back_what_is_under_way() -> None:
    outbox, service = MemoryOutbox(), SlowService()
    outbox.append(users(1000, 1000))
    running = asyncio.create_task(relay(outbox, service).run())
    await service.begun.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert len(await outbox.claim(limit=2000, lease_for=1)) == 1000


async def test_a_claim_that_is_under_way_at_the_end_is_given_back() -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MemoryOutbox):
        async def claim(self, **how: Any) -> list[Claim]:
            claims = await super().claim(**how)
            if not claiming.is_set():
                claiming.set()
                await go_on.wait()
            return claims

    outbox, service = Slow(), Service()
    outbox.append(users(10, 10))
    running = asyncio.create_task(relay(outbox, service).run())
    await claiming.wait()

    running.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert service.reports == []
    assert len(await outbox.claim(limit=100, lease_for=1)) == 10


# --- leases ----------------------------------------------------------------


async def test_a_lease_is_extended_while_a_report_takes_long() -> None:
    extended = asyncio.Event()

    class Extended(MemoryOutbox):
        async def extend(self, ids: Sequence[Any], *, lease_for: float) -> None:
            await super().extend(ids, lease_for=lease_for)
            assert len(ids) == 150
            extended.set()

    outbox, service = Extended(), SlowService()
    outbox.append(users(150, 150))

    lasting = relay(outbox, service, lease_for=0.3, parallel=1)
    delivering = asyncio.create_task(lasting.deliver())
    await asyncio.wait_for(extended.wait(), PATIENCE)
    service.go_on.set()
    await delivering

    assert len(service.stored) == len(set(service.stored_uuids)) == 150
    assert (await outbox.count()).waiting == 0


async def test_several_relays_share_an_outbox(service: Service) -> None:
    outbox = MemoryOutbox()
    outbox.append(users(400, 6000))
    relays = [relay(outbox, service) for _ in range(3)]

    while (await outbox.count()).waiting:
        await asyncio.gather(*(one.deliver() for one in relays))

    assert len(service.stored) == len(set(service.stored_uuids)) == 6000
