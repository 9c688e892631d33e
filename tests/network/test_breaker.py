from __future__ import annotations

from moe_middleware import Reason
from moe_middleware.network.breaker import (
    FAILURES_IN_A_ROW,
    FEWEST_CALLS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_FOR,
    WINDOW,
    Breaker,
    State,
)

from ..rows import each


def breaker() -> Breaker:
    return Breaker(jitter=lambda: 1.0)


def opened(at: float = 100.0) -> Breaker:
    made = breaker()
    for _ in range(FEWEST_CALLS):
        made.failed(at)
    return made


LONG_PAST = "+" * 1_000


@each(
    ("calls", "state"),
    [
        # The fewest calls, then half of them.
        ("-" * (FEWEST_CALLS - 1), State.CLOSED),
        ("+++--", State.CLOSED),
        ("+++---", State.OPEN),
        # Failures in a row outweigh a healthy past.
        (LONG_PAST + "-" * (FAILURES_IN_A_ROW - 1), State.CLOSED),
        (LONG_PAST + "-" * FAILURES_IN_A_ROW, State.OPEN),
        (LONG_PAST + 3 * ("-" * (FAILURES_IN_A_ROW - 1) + "+"), State.CLOSED),
        # A cancelled call shows nothing.
        ("?", State.CLOSED),
    ],
)
def test_it_opens_when_enough_calls_fail(calls: str, state: State) -> None:
    made = breaker()

    for call in calls:
        if call == "?":
            made.abandoned()
        else:
            (made.succeeded if call == "+" else made.failed)(100.0)

    assert made.state is state
    assert made.allows(100.0) is (state is State.CLOSED)
    assert made.reason is Reason.BREAKER_OPEN


def test_it_tells_of_each_change() -> None:
    states: list[State] = []
    made = Breaker(jitter=lambda: 1.0, changed=states.append)

    for _ in range(FEWEST_CALLS):
        made.failed(100.0)
    made.allows(100.0 + FIRST_PAUSE)
    made.succeeded(101.0)

    assert states == [State.OPEN, State.PROBING, State.CLOSED]


def test_failures_are_forgotten_after_the_window() -> None:
    made = breaker()

    for _ in range(FEWEST_CALLS - 1):
        made.failed(100.0)
    made.failed(100.0 + WINDOW + 1)

    assert made.state is State.CLOSED


def test_after_the_pause_one_probe_passes_and_no_other() -> None:
    made = opened()

    early = made.allows(100.0 + FIRST_PAUSE - 0.01)
    probe = made.allows(100.0 + FIRST_PAUSE)
    others = [made.allows(100.0 + FIRST_PAUSE + number) for number in range(20)]

    assert (early, probe) == (False, True)
    assert not any(others)


def test_a_good_probe_closes_it_and_forgets_the_past() -> None:
    made = opened()
    made.allows(101.0)

    made.succeeded(101.0)
    made.failed(101.0)

    assert made.state is State.CLOSED
    assert all(made.allows(101.0) for _ in range(50))


def test_a_bad_probe_doubles_the_pause_up_to_its_limit() -> None:
    made = opened()
    now, pauses = 100.0, []

    for _ in range(8):
        began = now
        while not made.allows(now):
            now += 0.5
        pauses.append(now - began)
        made.failed(now)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, LONGEST_PAUSE, LONGEST_PAUSE]


def test_an_abandoned_probe_leaves_the_place_to_the_next() -> None:
    made = opened()
    made.allows(101.0)

    made.abandoned()

    assert made.allows(101.0)


def test_late_news_do_not_move_an_open_one() -> None:
    made = opened()

    made.succeeded(100.1)
    made.failed(100.1)

    assert made.state is State.OPEN
    assert made.allows(100.0 + FIRST_PAUSE)


@each(("asked", "pause"), [(40.0, 40.0), (86_400.0, 60.0)])
def test_it_pauses_for_as_long_as_the_api_asks(asked: float, pause: float) -> None:
    made = breaker()

    made.pause(100.0, asked, Reason.RATE_LIMITED)

    assert made.reason is Reason.RATE_LIMITED
    assert not made.allows(100.0 + pause - 0.1)
    assert made.allows(100.0 + pause)


def test_a_probe_that_never_ends_leaves_the_place_to_the_next() -> None:
    made = opened()
    later = 100.0 + FIRST_PAUSE

    assert made.allows(later)
    assert not made.allows(later + PROBE_FOR - 0.1)
    assert made.allows(later + PROBE_FOR)
