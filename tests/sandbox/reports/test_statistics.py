from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moe_middleware.sandbox.reports.statistics import (
    Beta,
    chances_to_win,
    credible_interval,
    posterior,
    split_p_value,
)

from ...rows import each

Counts = tuple[int, int]


def counts(most: int) -> st.SearchStrategy[Counts]:
    """The converted and the seen."""
    return st.integers(0, most).flatmap(
        lambda seen: st.tuples(st.integers(0, seen), st.just(seen))
    )


def percent(figure: float) -> float:
    return round(100 * figure, 1)


# --- the published figures ------------------------------------------------------


def test_intervals_and_chances_are_the_published_ones() -> None:
    intervals = {
        counted: [percent(one) for one in credible_interval(*counted)]
        for counted in ((20, 50), (25, 50), (15, 100), (20, 100), (25, 100))
    }
    two = chances_to_win(((20, 50), (25, 50)))
    three = chances_to_win(((15, 100), (20, 100), (25, 100)))

    assert intervals == {
        # Published without decimals: 28 to 54, 37 to 63.
        (20, 50): [27.6, 53.9],
        (25, 50): [36.6, 63.4],
        (15, 100): [9.3, 23.3],
        (20, 100): [13.4, 28.9],
        (25, 100): [17.6, 34.3],
    }
    assert round(100 * two[1]) == 84
    # Published figures, drawn at random: good for 0.2 points.
    assert [percent(one) for one in three] == pytest.approx([2.3, 19.5, 78.2], abs=0.2)


# --- the distribution against exact arithmetic ----------------------------------


def exactly_below(x: Fraction, a: int, b: int) -> Fraction:
    """The incomplete beta function of whole numbers is a binomial tail."""
    n = a + b - 1
    return sum(
        (math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1)),
        Fraction(0),
    )


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 100))
@example(1, 1, 0)
@example(1, 1, 100)
@example(1, 60, 1)
@example(60, 1, 99)
def test_probability_below_a_rate_is_exact(a: int, b: int, hundredths: int) -> None:
    x = Fraction(hundredths, 100)

    found = Beta(a, b).below(float(x))

    assert found == pytest.approx(float(exactly_below(x, a, b)), rel=1e-11, abs=1e-14)


@given(counts(3_000_000), st.floats(0.001, 0.999))
@example((0, 3_000_000), 0.025)
@example((3_000_000, 3_000_000), 0.975)
@settings(deadline=None)
def test_quantile_is_the_rate_of_its_probability(
    counted: Counts, probability: float
) -> None:
    believed = posterior(*counted)

    rate = believed.quantile(probability)

    assert 0 < rate < 1
    assert believed.below(rate) == pytest.approx(probability, abs=1e-8)


# --- the chance to win ----------------------------------------------------------


def exact_chance_to_beat(one: Counts, other: Counts) -> float:
    """The closed sum for two Beta distributions of whole numbers, in fractions."""
    a, b = 1 + one[0], 1 + one[1] - one[0]
    c, d = 1 + other[0], 1 + other[1] - other[0]

    def beta(x: int, y: int) -> Fraction:
        return Fraction(
            math.factorial(x - 1) * math.factorial(y - 1), math.factorial(x + y - 1)
        )

    return float(
        sum(
            beta(c + i, b + d) / ((b + i) * beta(1 + i, b) * beta(c, d))
            for i in range(a)
        )
    )


@given(counts(80), counts(80))
@example((0, 0), (0, 0))
@example((80, 80), (0, 80))
@example((0, 1), (80, 80))
def test_chance_of_two_is_exact(one: Counts, other: Counts) -> None:
    chances = chances_to_win((one, other))

    assert chances[0] == pytest.approx(exact_chance_to_beat(one, other), abs=1e-6)


@given(st.lists(counts(1_000_000), min_size=2, max_size=5), st.randoms())
@settings(max_examples=15)
@example([(0, 1_000_000), (1_000_000, 1_000_000), (0, 0)], random.Random(1))
def test_chances_add_up_and_do_not_depend_on_the_order(
    rivals: list[Counts], shuffler: random.Random
) -> None:
    chances = dict(zip(range(len(rivals)), chances_to_win(tuple(rivals)), strict=True))
    order = list(chances)
    shuffler.shuffle(order)

    shuffled = chances_to_win(tuple(rivals[index] for index in order))

    assert math.fsum(shuffled) == pytest.approx(1)
    assert all(0 <= chance <= 1 for chance in shuffled)
    assert shuffled == pytest.approx([chances[index] for index in order], abs=1e-9)


# --- the split ------------------------------------------------------------------


@each(
    ("seen", "shares", "p_value"),
    [
        # From tables of the chi-square distribution.
        ([500, 500], [0.5, 0.5], 1.0),
        ([1062, 1000], [0.5, 0.5], 0.1721),
        ([60, 40], [0.5, 0.5], 0.0455),
        ([30, 40, 50], [1, 1, 1], 0.0821),
        ([20, 20, 20, 40], [0.25] * 4, 0.0074),
        ([10, 20, 30, 40, 50], [20] * 5, 1.0e-06),
        ([10, 12, 8, 15, 5, 10, 10], [1] * 7, 0.4460),
        ([5, 0], [1, 0], None),
        ([5, 1], [1, 0], 0.0),
        ([5], [1], None),
        ([0, 0], [0.5, 0.5], None),
        ([], [], None),
    ],
)
def test_split_is_judged_by_chi_square(
    seen: list[int], shares: list[float], p_value: float | None
) -> None:
    found = split_p_value(seen, shares)

    assert found == (None if p_value is None else pytest.approx(p_value, abs=6e-5))
