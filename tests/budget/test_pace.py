from __future__ import annotations

import pytest

from moe_middleware.budget.pace import Pace
from moe_middleware.gcra import WINDOW, rate_for

LIMIT = 10_000


@pytest.fixture
def pace() -> Pace:
    return Pace(LIMIT, fixed=False)


def test_as_long_as_enough_is_left_nothing_slows_down(pace: Pace) -> None:
    pace.learn(100, limit=LIMIT, remaining=5_000, resets_in=30)

    assert pace.rate(100) == rate_for(LIMIT)


def test_a_burst_of_our_own_at_the_windows_start_slows_nothing_down(pace: Pace) -> None:
    used = 150 + 163.4 * 30

    pace.learn(100, limit=LIMIT, remaining=int(LIMIT - used), resets_in=31)

    assert pace.rate(100) == rate_for(LIMIT)


def test_less_left_than_we_need_is_spread_until_the_reset(pace: Pace) -> None:
    pace.learn(100, limit=LIMIT, remaining=1_000, resets_in=30)

    slow = pace.rate(129.9)
    assert slow.burst + 30 / slow.interval == pytest.approx(1_000)
    assert pace.rate(130.1) == rate_for(LIMIT)


def test_the_news_of_a_new_window_ends_the_slowness(pace: Pace) -> None:
    pace.learn(100, limit=LIMIT, remaining=1_000, resets_in=30)
    pace.learn(101, limit=LIMIT, remaining=9_990, resets_in=59)

    assert pace.rate(102) == rate_for(LIMIT)


def test_only_a_refusal_that_is_new_has_to_be_told_to_others(pace: Pace) -> None:
    told = [
        pace.learn(now, limit=None, remaining=0, resets_in=10)
        for now in (100, 101, 125)
    ]

    assert told == [True, False, True]


def test_a_refusal_in_a_windows_last_second_still_pauses(pace: Pace) -> None:
    pace.learn(100, limit=None, remaining=0, resets_in=0)

    assert 0 < pace.closed_for(100) <= 1


def test_a_reset_far_away_is_a_window_away(pace: Pace) -> None:
    pace.learn(100, limit=None, remaining=0, resets_in=1e12)

    assert pace.closed_for(100) == WINDOW


def test_a_clock_that_jumps_back_forgets_what_was_learnt(pace: Pace) -> None:
    pace.learn(100_000, limit=10, remaining=0, resets_in=30)

    assert pace.closed_for(100) == 0.0
    assert pace.rate(100) == rate_for(LIMIT)
