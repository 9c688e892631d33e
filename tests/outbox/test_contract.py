"""What every outbox promises, run over each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moe_middleware.outbox import MemoryOutbox, Outbox, SQLiteOutbox

from ..makers import event


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def outbox(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], float]
) -> Iterator[Outbox]:
    opened: Outbox
    if request.param == "memory":
        opened = MemoryOutbox(clock=clock)
    else:
        opened = SQLiteOutbox(str(tmp_path / "outbox.db"), clock=clock)
    yield opened
    opened.close()


async def test_what_is_appended_is_claimed_as_it_was(outbox: Outbox) -> None:
    events = [event("alice", user_attributes={"name": "Alice"}), event("bob")]

    outbox.append(events)
    claims = await outbox.claim(limit=10, lease_for=30)

    assert [claim.event for claim in claims] == events
    assert [claim.attempts for claim in claims] == [1, 1]


async def test_claims_are_the_oldest_and_no_more_than_the_limit(
    outbox: Outbox, clock: Clock
) -> None:
    first, second, third = event(), event(), event()
    for one in (first, second, third):
        outbox.append([one])
        clock.now += 1

    claims = await outbox.claim(limit=2, lease_for=30)

    assert [claim.event for claim in claims] == [first, second]


async def test_a_claimed_event_is_nobody_elses(outbox: Outbox) -> None:
    outbox.append([event()])
    await outbox.claim(limit=10, lease_for=30)

    assert await outbox.claim(limit=10, lease_for=30) == []


async def test_an_expired_lease_is_claimed_again(outbox: Outbox, clock: Clock) -> None:
    outbox.append([event()])
    [claim] = await outbox.claim(limit=10, lease_for=30)

    clock.now += 30
    [again] = await outbox.claim(limit=10, lease_for=30)

    assert again.id == claim.id
    assert again.attempts == 2


async def test_an_acked_event_is_gone(outbox: Outbox, clock: Clock) -> None:
    outbox.append([event()])
    [claim] = await outbox.claim(limit=10, lease_for=30)

    await outbox.ack([claim.id])

    clock.now += 1000
    assert await outbox.claim(limit=10, lease_for=30) == []
    assert (await outbox.count()).waiting == 0


async def test_a_retried_event_is_due_after_its_delay(
    outbox: Outbox, clock: Clock
) -> None:
    outbox.append([event()])
    [claim] = await outbox.claim(limit=10, lease_for=30)
    await outbox.retry([claim.id], delay=5)

    clock.now += 4.9
    early = await outbox.claim(limit=10, lease_for=30)
    clock.now += 0.1
    due = await outbox.claim(limit=10, lease_for=30)

    assert early == []
    assert [one.id for one in due] == [claim.id]


async def test_a_buried_event_is_a_dead_letter_until_replayed(outbox: Outbox) -> None:
    buried = event()
    outbox.append([buried])
    [claim] = await outbox.claim(limit=10, lease_for=30)

    await outbox.bury([claim.id], reason="400 No")
    counted = await outbox.count()
    [letter] = await outbox.dead_letters()
    replayed = await outbox.replay()
    [again] = await outbox.claim(limit=10, lease_for=30)

    assert (counted.waiting, counted.dead) == (0, 1)
    assert (letter.event, letter.reason) == (buried, "400 No")
    assert replayed == 1
    assert again.event == buried
    assert (await outbox.count()).dead == 0


async def test_verbs_on_events_that_are_gone_do_nothing(outbox: Outbox) -> None:
    await outbox.ack([99])
    await outbox.retry([99], delay=1)
    await outbox.bury([99], reason="no")

    counted = await outbox.count()

    assert (counted.waiting, counted.dead) == (0, 0)


async def test_appending_nothing_is_nothing(outbox: Outbox) -> None:
    outbox.append([event()])
    outbox.append([])
    outbox.append([event()])

    assert (await outbox.count()).waiting == 2


async def test_an_event_that_cannot_be_kept_is_refused_alone(outbox: Outbox) -> None:
    outbox.append([event()])
    with suppress(TypeError):
        outbox.append([event(user_attributes={"bad": object()})])
    outbox.append([event("kept")])

    claims = await outbox.claim(limit=10, lease_for=30)

    assert claims[-1].event.customer_id == "kept"


async def test_a_closed_outbox_opens_again(outbox: Outbox) -> None:
    outbox.append([event()])
    outbox.close()
    outbox.append([event()])

    assert (await outbox.count()).waiting == 2
