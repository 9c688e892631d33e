from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from moe_middleware import Event, MemoryOutbox
from moe_middleware.errors import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    MoEngageError,
)
from moe_middleware.relay import Relay

from .makers import event


class Service:
    """Takes reports as the API does: wholly or not at all, each uuid once."""

    def __init__(self) -> None:
        self.failures: list[MoEngageError] = []
        self.poison: set[str] = set()
        self.reports: list[list[str]] = []
        self.stored: list[str] = []

    async def report(self, events: Sequence[Event]) -> None:
        uuids = [one.uuid for one in events]
        self.reports.append(uuids)
        if self.failures:
            raise self.failures.pop(0)
        if self.poison & set(uuids):
            raise InvalidRequestError(status=400, title="Invalid Field Value")
        self.stored += uuids


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


def relay(outbox: MemoryOutbox, service: Service) -> Relay:
    return Relay(outbox, service.report, interval=0.01, jitter=lambda: 0.0)


async def test_what_waits_is_delivered_once(
    outbox: MemoryOutbox, service: Service
) -> None:
    events = [event(f"user-{number % 7}") for number in range(1200)]
    outbox.append(events)

    await relay(outbox, service).drain(5)

    assert sorted(service.stored) == sorted(one.uuid for one in events)
    assert (await outbox.count()).waiting == 0


async def test_a_failed_report_is_sent_again_with_the_same_uuids(
    outbox: MemoryOutbox, service: Service
) -> None:
    sent = event()
    outbox.append([sent])
    service.failures = [APIError(status=503), APIError(status=503)]

    running = asyncio.create_task(relay(outbox, service).run())
    while not service.stored:
        await asyncio.sleep(0.01)
    running.cancel()

    assert service.reports == [[sent.uuid]] * 3
    assert service.stored == [sent.uuid]


async def test_a_failure_pauses_the_relay_and_gives_back_its_other_claims(
    outbox: MemoryOutbox, service: Service
) -> None:
    outbox.append([event(f"user-{number}") for number in range(250)])
    service.failures = [APIError(status=503)]

    await relay(outbox, service).deliver()
    while_paused = await outbox.claim(limit=1000, lease_for=1)
    await asyncio.sleep(0.3)
    afterwards = await outbox.claim(limit=1000, lease_for=1)

    assert len(service.reports) == 1
    assert while_paused == []
    assert len(afterwards) == 250


async def test_one_poison_event_among_many_is_the_only_one_buried(
    outbox: MemoryOutbox, service: Service
) -> None:
    events = [event(f"user-{number}") for number in range(1000)]
    service.poison = {events[333].uuid}
    outbox.append(events)

    await relay(outbox, service).drain(5)

    [letter] = await outbox.dead_letters()
    assert letter.event == events[333]
    assert letter.reason == "400 Invalid Field Value"
    assert len(service.stored) == 999
    assert (await outbox.count()).waiting == 0


async def test_wrong_credentials_keep_everything(
    outbox: MemoryOutbox, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.append([event()])
    service.failures = [AuthenticationError(status=401)]

    await relay(outbox, service).deliver()

    counted = await outbox.count()
    assert (counted.waiting, counted.dead) == (1, 0)
    assert "error=AuthenticationError" in caplog.text


async def test_a_drain_ends_in_time_and_frees_what_it_had_claimed() -> None:
    outbox = MemoryOutbox()
    outbox.append([event()])

    async def hang(events: Sequence[Event]) -> None:
        await asyncio.sleep(60)

    await Relay(outbox, hang).drain(0.05)
    [claim] = await outbox.claim(limit=10, lease_for=1)

    assert claim.attempts == 2


async def test_a_relay_goes_on_after_its_outbox_failed(service: Service) -> None:
    class Failing(MemoryOutbox):
        broken = True

        async def claim(self, *, limit: int, lease_for: float) -> list[object]:  # type: ignore[override]
            if self.broken:
                self.broken = False
                raise OSError("disk")
            return list(await super().claim(limit=limit, lease_for=lease_for))

    outbox = Failing()
    outbox.append([event()])

    running = asyncio.create_task(relay(outbox, service).run())
    while not service.stored:
        await asyncio.sleep(0.01)
    running.cancel()

    assert len(service.stored) == 1
