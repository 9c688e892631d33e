from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.network.rate_limit import WINDOW, is_ahead, rate_for, spend

from ..rows import each

LIMIT = 10_000


def allowed(limit: int, arrivals: Sequence[float]) -> list[float]:
    """The moments of the calls that went."""
    rate, used_until = rate_for(limit), 0.0
    went = []
    for now in arrivals:
        used_until, wait = spend(used_until, now, rate)
        if not wait:
            went.append(now)
    return went


def most_in_a_window(moments: Sequence[float]) -> int:
    """The most within any 60 seconds, its end not included."""
    return max(
        (
            bisect_left(moments, began + WINDOW) - index
            for index, began in enumerate(moments)
        ),
        default=0,
    )


gaps = st.lists(
    st.one_of(
        st.just(0.0),
        st.floats(0, 0.01),
        st.floats(0, 3),
        st.floats(0, 70),
        st.just(WINDOW),
    ),
    min_size=1,
    max_size=300,
)


@given(limit=st.integers(1, 200), gaps=gaps, copies=st.integers(1, 30))
def test_no_window_holds_more_than_the_limit_whatever_arrives(
    limit: int, gaps: list[float], copies: int
) -> None:
    now, arrivals = 1_700_000_000.0, []
    for gap in gaps:
        now += gap
        arrivals += [now] * copies

    assert most_in_a_window(allowed(limit, arrivals)) <= limit


@given(
    limit=st.integers(1, 200),
    steps=st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 200)), min_size=1, max_size=200
    ),
)
def test_a_clock_that_jumps_back_lets_no_more_calls_go(
    limit: int, steps: list[tuple[float, float]]
) -> None:
    rate, used_until = rate_for(limit), 0.0
    elapsed, behind, went = 1_700_000_000.0, 0.0, []
    for gap, jump in steps:
        elapsed += gap
        behind += jump if jump > 150 else 0.0
        for _ in range(5):
            used_until, wait = spend(used_until, elapsed - behind, rate)
            if not wait:
                went.append(elapsed)

    assert most_in_a_window(went) <= limit


@given(limit=st.integers(1, 10_000), pause=st.floats(0, 120), late=st.floats(0, 1))
def test_a_caller_who_waits_as_long_as_asked_may_go(
    limit: int, pause: float, late: float
) -> None:
    rate, now = rate_for(limit), 1_700_000_000.0
    used_until = 0.0
    for _ in range(rate.burst):
        used_until, _ = spend(used_until, now, rate)
    now += pause
    used_until, wait = spend(used_until, now, rate)

    _, again = spend(used_until, now + wait + late, rate)

    assert wait == 0.0 or again == 0.0
    assert wait <= 2 * WINDOW


@each(
    ("limit", "burst", "steady"),
    [
        (1, 1, 0.98),
        (10, 1, 9.8),
        (60, 6, 54.98),
        (100, 10, 90.98),
        (600, 10, 588),
        (1_000, 15, 980),
        (10_000, 150, 9_800),
        (100_000, 1_500, 98_000),
    ],
)
def test_a_limit_is_cut_into_a_burst_and_a_steady_rate(
    limit: int, burst: int, steady: float
) -> None:
    rate = rate_for(limit)

    assert rate.burst == burst
    assert WINDOW / rate.interval == pytest.approx(steady)


def test_an_idle_budget_gives_its_burst_at_once_and_no_more() -> None:
    rate, now, used_until = rate_for(LIMIT), 1_700_000_000.0, 0.0

    waits = []
    for _ in range(rate.burst + 1):
        used_until, wait = spend(used_until, now, rate)
        waits.append(wait)

    assert waits[:-1] == [0.0] * rate.burst
    assert waits[-1] == pytest.approx(rate.interval, rel=0.01)


def test_calls_that_go_together_go_all_or_none() -> None:
    rate, now = rate_for(LIMIT), 1_700_000_000.0

    used_until, first = spend(0.0, now, rate, 100)
    same, refused = spend(used_until, now, rate, 51)
    _, second = spend(same, now, rate, 50)

    assert (first, second) == (0.0, 0.0)
    assert refused == pytest.approx(rate.interval, rel=0.01)
    assert same == used_until


def test_more_calls_than_a_burst_go_from_an_idle_budget_and_are_made_up_for() -> None:
    rate, now = rate_for(10), 1_700_000_000.0

    used_until, first = spend(0.0, now, rate, 3)
    _, wait = spend(used_until, now, rate)

    assert first == 0.0
    assert wait == pytest.approx(rate.interval)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [(99.0, False), (100.0, False), (100.1, True), (160.0, True), (160.1, False)],
)
def test_what_lies_further_ahead_than_a_window_is_a_clock_that_jumped(
    moment: float, expected: bool
) -> None:
    assert is_ahead(moment, 100.0) is expected
