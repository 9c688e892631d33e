"""What every outbox promises, run over each of them."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from moe_middleware import Counters, Event
from moe_middleware.outbox import Claim, Outbox, WaitingEvent

from ..makers import event
from .conftest import Clock, OpenOutbox


async def claimed(outbox: Outbox, limit: int = 100, relay: str = "") -> list[Claim]:
    return await outbox.claim(limit=limit, lease_for=30, relay=relay)


async def events_of(outbox: Outbox, relay: str = "") -> list[Event]:
    return [claim.event for claim in await claimed(outbox, relay=relay)]


# --- one event's way -------------------------------------------------------


async def test_what_is_appended_is_claimed_as_it_was(outbox: Outbox) -> None:
    events = [
        event(
            "alice", user_attributes={"name": "Åsa \u0000 '\"\\ 🦊", "n": [1.5, None]}
        ),
        event("bob", b_id="Shop Now", user_timezone_offset=19_800),
        event("carol", experience_context={"cid": "x", "deep": {"a": [{"b": []}]}}),
    ]

    outbox.append(events)
    claims = await claimed(outbox)

    assert [claim.event for claim in claims] == events
    assert [claim.attempts for claim in claims] == [1, 1, 1]


async def test_claims_are_the_oldest_and_no_more_than_the_limit(
    outbox: Outbox,
) -> None:
    events = [event(f"user-{number}") for number in range(5)]
    for one in events:
        outbox.append([one])

    first = await claimed(outbox, 2)
    second = await claimed(outbox, 2)

    assert [claim.event for claim in (*first, *second)] == events[:4]


async def test_a_claimed_event_has_one_owner(open_outbox: OpenOutbox) -> None:
    outbox = open_outbox()
    outbox.append([event()])

    claims = await claimed(outbox, relay="one")

    assert len(claims) == 1
    assert await claimed(outbox, relay="one") == []
    assert await claimed(outbox, relay="two") == []


async def test_a_lease_that_was_extended_expires_and_is_claimed_again(
    outbox: Outbox, clock: Clock
) -> None:
    outbox.append([event()])
    [claim] = await claimed(outbox)
    clock.now += 20
    await outbox.extend([claim.id], lease_for=30)

    clock.now += 29.9
    early = await claimed(outbox)
    clock.now += 0.2
    [again] = await claimed(outbox)

    assert early == []
    assert again.id == claim.id
    assert again.attempts == 2


async def test_a_late_ack_never_deletes_another_event(
    outbox: Outbox, clock: Clock
) -> None:
    """Ids are not given again, however empty the outbox was in between."""
    outbox.append([event("first")])
    [late] = await claimed(outbox)
    clock.now += 31
    [again] = await claimed(outbox)
    await outbox.ack([again.id])
    outbox.append([event("second")])

    await outbox.ack([late.id])

    assert [one.customer_id for one in await events_of(outbox)] == ["second"]


async def test_a_retried_event_is_due_after_its_delay(
    outbox: Outbox, clock: Clock
) -> None:
    outbox.append([event()])
    [claim] = await claimed(outbox)
    await outbox.retry([claim.id], delay=5)

    clock.now += 4.9
    early = await claimed(outbox)
    clock.now += 0.2
    due = await claimed(outbox)

    assert early == []
    assert [(one.id, one.attempts) for one in due] == [(claim.id, 2)]


async def test_a_clock_that_is_set_back_holds_nothing_up(
    outbox: Outbox, clock: Clock
) -> None:
    outbox.append([event("leased"), event("retried")])
    leased, retried = await claimed(outbox)
    await outbox.retry([retried.id], delay=5)
    clock.now -= 900

    outbox.append([event("fresh")])
    at_once = await events_of(outbox)
    clock.now += 31
    later = await events_of(outbox)

    assert [one.customer_id for one in at_once] == ["fresh"]
    assert {"leased", "retried"} <= {one.customer_id for one in later}
    assert leased.event in later


# --- the order of one customer's events ------------------------------------


async def test_no_event_overtakes_an_earlier_one_that_another_relay_has(
    outbox: Outbox,
) -> None:
    first, second, other = event("alice"), event("alice"), event("bob")
    outbox.append([first, second, other])

    [claim] = await claimed(outbox, 1, relay="one")
    meanwhile = await events_of(outbox, relay="two")
    await outbox.ack([claim.id])
    afterwards = await events_of(outbox, relay="two")

    assert claim.event == first
    assert meanwhile == [other]
    assert afterwards == [second]


async def test_no_event_overtakes_an_earlier_one_that_waits_for_its_retry(
    outbox: Outbox, clock: Clock
) -> None:
    events = [event("alice"), event("alice"), event("alice"), event("bob")]
    outbox.append(events)
    first, second = await claimed(outbox, 2, relay="one")
    await outbox.retry([second.id], delay=0)
    await outbox.retry([first.id], delay=5)

    meanwhile = await events_of(outbox, relay="one")
    clock.now += 6
    afterwards = await events_of(outbox, relay="one")

    assert meanwhile == [events[3]]
    assert afterwards == events[:3]


async def test_what_a_named_relay_holds_does_not_hold_its_later_claims_back(
    outbox: Outbox,
) -> None:
    events = [event("alice") for _ in range(4)]
    outbox.append(events)

    first = await claimed(outbox, 1, relay="one")
    others = await claimed(outbox, 1, relay="two")
    second = await claimed(outbox, 2, relay="one")
    unnamed = await claimed(outbox, 1)

    assert [claim.event for claim in (*first, *second)] == events[:3]
    assert others == unnamed == []


async def test_an_unnamed_claim_holds_even_its_own_customers_back(
    outbox: Outbox,
) -> None:
    outbox.append([event("alice"), event("alice")])
    [claim] = await claimed(outbox, 1)

    meanwhile = await claimed(outbox)
    await outbox.bury([claim.id], reason="no")

    assert meanwhile == []
    assert len(await claimed(outbox)) == 1


async def test_every_event_is_delivered_once_by_relays_that_come_and_go(
    outbox: Outbox, clock: Clock
) -> None:
    """A few hundred steps of claim, ack, retry and death keep every promise."""
    import random

    dice = random.Random(5)
    events = [event(f"user-{dice.randrange(9)}") for _ in range(150)]
    left = list(events)
    delivered: list[Event] = []
    held: dict[str, list[Claim]] = {"one": [], "two": [], "three": []}
    for _ in range(2000):
        if left:
            outbox.append([left.pop(0) for _ in range(min(3, len(left)))])
        relay = dice.choice(list(held))
        if not held[relay]:
            held[relay] = await claimed(outbox, dice.randrange(1, 20), relay)
        elif (fate := dice.random()) < 0.4:
            # Of the customers' first ones only, as a relay does.
            done = held[relay][: dice.randrange(len(held[relay]) + 1)]
            delivered += [claim.event for claim in done]
            await outbox.ack([claim.id for claim in done])
            held[relay] = held[relay][len(done) :]
        elif fate < 0.8:
            ids = [claim.id for claim in held[relay]]
            await outbox.retry(ids, delay=dice.choice([0, 1, 20]))
            held[relay] = []
        else:
            # All leases run out: their holders are dead.
            held = {name: [] for name in held}
            clock.now += 31
        clock.now += 1
        if len(delivered) == len(events):
            break

    assert sorted(one.uuid for one in delivered) == sorted(one.uuid for one in events)
    for user in {one.customer_id for one in events}:
        happened = [one for one in events if one.customer_id == user]
        assert [one for one in delivered if one.customer_id == user] == happened
    assert (await outbox.count()).waiting == 0


# --- dead letters ----------------------------------------------------------


async def test_a_buried_event_is_a_dead_letter_until_replayed(
    outbox: Outbox, clock: Clock
) -> None:
    buried = event(b_id="Shop Now")
    outbox.append([buried])
    [claim] = await claimed(outbox)

    await outbox.bury([claim.id], reason="400 No")
    counted = await outbox.count()
    [letter] = await outbox.dead_letters()
    replayed = await outbox.replay()
    [again] = await claimed(outbox)

    assert (counted.waiting, counted.dead) == (0, 1)
    assert (letter.id, letter.event) == (claim.id, buried)
    assert (letter.reason, letter.attempts) == ("400 No", 1)
    assert letter.buried_at == clock.now
    assert replayed == 1
    assert (again.event, again.attempts) == (buried, 1)
    assert (await outbox.count()).dead == 0


async def test_dead_letters_are_replayed_by_id_or_a_few_at_a_time(
    outbox: Outbox,
) -> None:
    events = [event(f"user-{number}") for number in range(6)]
    outbox.append(events)
    ids = [claim.id for claim in await claimed(outbox)]
    await outbox.bury(ids, reason="no")

    # As on the command line: an id's text is as good, and nonsense is nothing.
    chosen = await outbox.replay(ids=[str(ids[4]), ids[1], "nonsense", "99999"])
    oldest = await outbox.replay(limit=1)
    claims = await claimed(outbox)

    assert (chosen, oldest) == (2, 1)
    assert [claim.event for claim in claims] == [events[1], events[4], events[0]]
    assert [one.event for one in await outbox.dead_letters()] == [
        events[5],
        events[3],
        events[2],
    ]


async def test_waiting_events_and_dead_letters_come_page_by_page(
    outbox: Outbox, clock: Clock
) -> None:
    events = [event(f"user-{number}") for number in range(6)]
    outbox.append(events)
    claims = await claimed(outbox, 3)
    await outbox.bury([claim.id for claim in claims[:2]], reason="no")
    await outbox.retry([claims[2].id], delay=7)

    waiting = await outbox.waiting(limit=2)
    waiting += await outbox.waiting(limit=10, after=waiting[-1].id)
    dead = await outbox.dead_letters(limit=1)
    dead += await outbox.dead_letters(limit=10, after=dead[-1].id)

    assert [one.event for one in waiting] == events[2:]
    assert [one.attempts for one in waiting] == [1, 0, 0, 0]
    assert waiting[0].claimable_at == pytest.approx(clock.now + 7)
    assert [one.event for one in dead] == [events[1], events[0]]
    assert await outbox.waiting(after=waiting[-1].id) == []
    assert await outbox.dead_letters(after=dead[-1].id) == []


async def test_an_event_is_found_by_its_id(outbox: Outbox) -> None:
    waiting, dead = event("alice"), event("bob")
    outbox.append([dead, waiting])
    [claim] = await claimed(outbox, 1)
    await outbox.bury([claim.id], reason="400 No")
    [listed] = await outbox.waiting()

    found = [await outbox.find(id) for id in (listed.id, str(claim.id), "nonsense")]

    assert found[0] == listed
    assert [one and one.event for one in found] == [waiting, dead, None]


async def test_purged_events_are_gone(outbox: Outbox, clock: Clock) -> None:
    outbox.append([event(f"user-{number}") for number in range(8)])
    ids = [claim.id for claim in await claimed(outbox, 4)]
    await outbox.bury(ids[:3], reason="no")

    purged = [
        await outbox.purge("dead", ids=[ids[0], ids[3]]),
        await outbox.purge("dead", limit=1),
        await outbox.purge("waiting", limit=2),
    ]
    counted = await outbox.count()
    purged += [await outbox.purge("dead"), await outbox.purge("waiting")]

    assert purged == [1, 1, 2, 1, 3]
    assert (counted.waiting, counted.dead) == (3, 1)
    clock.now += 1000
    assert await claimed(outbox) == []
    counted = await outbox.count()
    assert (counted.waiting, counted.dead) == (0, 0)


async def test_what_one_outbox_held_another_takes_in(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    events = [event("alice", b_id="ü"), event("bob")]
    outbox.append(events)
    [claim] = await claimed(outbox, 1)
    await outbox.bury([claim.id], reason="400 No")
    waiting, dead = await outbox.waiting(), await outbox.dead_letters()
    await outbox.purge("waiting")
    await outbox.purge("dead")

    other = open_outbox()
    await other.restore([*waiting, *dead])
    [again] = await claimed(other)
    [letter] = await other.dead_letters()

    assert again.event == events[1]
    assert (letter.event, letter.reason) == (events[0], "400 No")
    assert letter.buried_at == dead[0].buried_at
    counted = await other.count()
    assert (counted.waiting, counted.dead) == (1, 1)


async def test_an_event_that_cannot_be_read_is_buried_with_its_body(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    counters = Counters()
    outbox = open_outbox(observer=counters)
    bodies = [b"not json", b'{"uuid": "x"}', b"[]", b'{"customer_id": 5}']
    await outbox.restore([WaitingEvent(id=0, body=body) for body in bodies])
    outbox.append([event("readable")])
    await outbox.flush()

    claims = await claimed(outbox)
    letters = await outbox.dead_letters()
    counted = await outbox.count()

    assert [claim.event.customer_id for claim in claims] == ["readable"]
    assert {letter.reason for letter in letters} == {"unreadable"}
    assert sorted(letter.body for letter in letters) == sorted(bodies)
    assert [letter.event for letter in letters] == [None] * 4
    assert (counted.waiting, counted.dead) == (1, 4)
    assert counters.snapshot()["events.buried"] == 4


# --- a full outbox ---------------------------------------------------------


async def test_a_full_outbox_refuses_the_newest(
    open_outbox: OpenOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    counters = Counters()
    outbox = open_outbox(max_events=5, observer=counters)
    events = [event(f"user-{number}") for number in range(8)]

    with caplog.at_level(logging.ERROR):
        outbox.append(events[:4])
        await outbox.flush()
        outbox.append(events[4:7])
        await outbox.flush()
        outbox.append(events[7:])
        await outbox.flush()
    counted = await outbox.count()

    assert await events_of(outbox) == events[:5]
    assert (counted.waiting, counted.refused, counted.dropped) == (5, 3, 0)
    assert counters.snapshot()["events.refused"] == 3
    # Once a minute is enough.
    assert caplog.text.count("events_refused") == 1


async def test_a_full_outbox_drops_the_oldest_if_it_is_set_so(
    open_outbox: OpenOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    counters = Counters()
    outbox = open_outbox(max_events=4, when_full="drop_oldest", observer=counters)
    events = [event(f"user-{number}") for number in range(9)]

    outbox.append(events[:3])
    [leased] = await claimed(outbox, 1)
    with caplog.at_level(logging.ERROR):
        outbox.append(events[3:7])
        await outbox.flush()
        outbox.append(events[7:])
        await outbox.flush()
    counted = await outbox.count()

    # Events that are being delivered stay.
    assert [one.event for one in await outbox.waiting()] == [events[0], *events[6:]]
    assert leased.event == events[0]
    assert (counted.waiting, counted.refused, counted.dropped) == (4, 0, 5)
    assert counters.snapshot()["events.dropped"] == 5
    assert caplog.text.count("events_dropped") == 1


async def test_a_drained_outbox_takes_events_again(open_outbox: OpenOutbox) -> None:
    outbox = open_outbox(max_events=2)
    outbox.append([event("one"), event("two")])
    await outbox.ack([claim.id for claim in await claimed(outbox)])

    outbox.append([event("three"), event("four")])

    assert len(await events_of(outbox)) == 2
    assert (await outbox.count()).refused == 0


# --- everything else -------------------------------------------------------


async def test_verbs_on_events_that_are_gone_do_nothing(outbox: Outbox) -> None:
    for ids in ([99], ["99"], ["nonsense"], []):
        await outbox.ack(ids)
        await outbox.extend(ids, lease_for=1)
        await outbox.retry(ids, delay=1)
        await outbox.bury(ids, reason="no")

    counted = await outbox.count()

    assert (counted.waiting, counted.dead) == (0, 0)


async def test_an_event_that_cannot_be_kept_is_refused_alone(outbox: Outbox) -> None:
    outbox.append([event("before")])
    with pytest.raises(TypeError):
        outbox.append([event("fine"), event(user_attributes={"bad": object()})])
    outbox.append([event("after")])

    assert [one.customer_id for one in await events_of(outbox)] == ["before", "after"]


async def test_the_observer_gets_what_is_appended(open_outbox: OpenOutbox) -> None:
    counters = Counters()
    outbox = open_outbox(observer=counters)

    outbox.append([event(), event()])
    outbox.append([event()])
    outbox.append([])

    assert counters.snapshot()["events.appended"] == 3


async def test_an_observer_that_raises_does_no_harm(open_outbox: OpenOutbox) -> None:
    class Broken(Counters):
        def events(self, what: str, count: int) -> None:
            raise RuntimeError("broken")

    outbox = open_outbox(observer=Broken(), max_events=1)

    outbox.append([event("kept"), event("refused")])
    await outbox.flush()

    assert [one.customer_id for one in await events_of(outbox)] == ["kept"]


async def test_a_closed_outbox_opens_again(outbox: Outbox) -> None:
    outbox.append([event()])
    outbox.close()
    outbox.append([event()])
    await outbox.flush()

    assert (await outbox.count()).waiting == 2


async def test_many_threads_append_without_loss(outbox: Outbox) -> None:
    def append() -> None:
        for _ in range(250):
            outbox.append([event()])

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await outbox.flush()

    assert (await outbox.count()).waiting == 1000


async def test_a_healthy_outbox_says_so(outbox: Outbox) -> None:
    before = await outbox.health()
    outbox.append([event()])
    await outbox.flush()
    after = await outbox.health()

    assert before.writable
    assert after.writable
    assert (after.unsaved, after.problem) == (0, None)


async def test_a_forked_child_takes_none_of_its_parents_events_along(
    open_outbox: OpenOutbox,
) -> None:
    outbox = open_outbox()
    outbox.append([event("saved")])
    await outbox.flush()
    outbox.append([event("unsaved")])

    child = os.fork()
    if child == 0:
        try:
            outbox.append([event("child")])
            outbox.close()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    await outbox.flush()
    customers = [one.customer_id for one in await events_of(outbox)]

    assert status == 0
    # A child of an outbox in memory has one of its own.
    assert sorted(customers) in (
        ["child", "saved", "unsaved"],
        ["saved", "unsaved"],
    )


# --- what processes note of themselves -------------------------------------


async def test_a_note_takes_the_place_of_the_last_and_an_empty_one_deletes_it(
    open_outbox: OpenOutbox,
) -> None:
    outbox = open_outbox()
    await outbox.note("one:1:server", b'{"up": 1}')
    await outbox.note("two:2:relay", b'{"up": 2}')
    await outbox.note("one:1:server", b'{"up": 3}')
    both = await outbox.notes()
    await outbox.note("two:2:relay", b"")

    assert both == {"one:1:server": b'{"up": 3}', "two:2:relay": b'{"up": 2}'}
    assert await outbox.notes() == {"one:1:server": b'{"up": 3}'}
    # They are no events.
    assert (await outbox.count()).waiting == 0


async def test_notes_are_replaced_where_others_are_as_expected(
    open_outbox: OpenOutbox,
) -> None:
    outbox = open_outbox()
    await outbox.note("one", b"1")

    late = await outbox.replace_notes({"one": b"0"}, {"one": b"", "sum": b"0"})
    taken = await outbox.replace_notes({"one": b"", "sum": b""}, {"sum": b"1"})
    unchanged = await outbox.notes()
    done = await outbox.replace_notes(
        {"one": b"1", "sum": b""}, {"one": b"", "sum": b"1"}
    )

    assert (late, taken, done) == (False, False, True)
    assert unchanged == {"one": b"1"}
    assert await outbox.notes() == {"sum": b"1"}
