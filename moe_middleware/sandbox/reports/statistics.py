"""Bayesian statistics of variations: the Beta posterior, and what follows from it.

Pure: no I/O, no clock, no randomness. The prior is uniform, so the posterior for ``k``
converted of ``n`` customers is Beta(1 + k, 1 + n - k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

LEVEL = 0.95
"""The probability of the credible interval, with equal tails outside of it."""

_TINY = 1e-300
_EXACT = 1e-15
_MAX_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class Beta:
    """A Beta distribution; ``a`` and ``b`` are at least 1."""

    a: float
    b: float

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.a / (self.a + self.b)

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.mean * (1 - self.mean) / (self.a + self.b + 1))

    def density(self, x: float) -> float:
        """Return the probability density at a rate."""
        if x <= 0:
            return self.b if self.a == 1 and x == 0 else 0.0
        if x >= 1:
            return self.a if self.b == 1 and x == 1 else 0.0
        return math.exp(
            (self.a - 1) * math.log(x) + (self.b - 1) * math.log1p(-x) - self._log_beta
        )

    def below(self, x: float) -> float:
        """Return the probability of a rate below ``x``: the incomplete beta function.

        Its continued fraction converges fast on one side of the mean only; the other
        side follows from the mirror image.
        """
        if x <= 0 or x >= 1:
            return float(x >= 1)
        a, b = self.a, self.b
        front = math.exp(a * math.log(x) + b * math.log1p(-x) - self._log_beta)
        if x < (a + 1) / (a + b + 2):
            return front * _continued_fraction(a, b, x) / a
        return 1 - front * _continued_fraction(b, a, 1 - x) / b

    def quantile(self, probability: float) -> float:
        """Return the rate below which the true one is with this probability."""
        low, high, x = 0.0, 1.0, self.mean
        while high - low > _EXACT:
            over = self.below(x) - probability
            low, high = (low, x) if over > 0 else (x, high)
            slope = self.density(x)
            # Newton's step if it stays inside the bracket, else bisection.
            step = x - over / slope if slope > _TINY else low
            if abs(step - x) <= _EXACT:
                return x
            x = step if low < step < high else (low + high) / 2
        return x

    @property
    def _log_beta(self) -> float:
        return math.lgamma(self.a) + math.lgamma(self.b) - math.lgamma(self.a + self.b)


def posterior(converted: int, seen: int) -> Beta:
    """Return the posterior of a rate after ``converted`` of ``seen`` customers."""
    return Beta(1 + converted, 1 + seen - converted)


@lru_cache(maxsize=4096)
def credible_interval(converted: int, seen: int) -> tuple[float, float]:
    """Return the bounds of the credible interval, with probability ``LEVEL``."""
    tail = (1 - LEVEL) / 2
    believed = posterior(converted, seen)
    return believed.quantile(tail), believed.quantile(1 - tail)


@lru_cache(maxsize=1024)
def chances_to_win(counts: tuple[tuple[int, int], ...]) -> tuple[float, ...]:
    """Return the probability of each variation to have the highest rate of all.

    That is the integral of its density times the others' probabilities to be below, by
    Simpson's rule on panels that are fine where a density is steep.

    Args:
        counts: The converted and the seen customers of each variation.
    """
    rivals = [posterior(converted, seen) for converted, seen in counts]
    knots = sorted({x for rival in rivals for x in _knots(rival)})
    below = [0.0] * len(rivals)
    chances = [0.0] * len(rivals)
    left = [rival.density(knots[0]) for rival in rivals]
    for start, end in pairwise(knots):
        width = end - start
        middle = [rival.density(start + width / 2) for rival in rivals]
        right = [rival.density(end) for rival in rivals]
        below_middle = [
            known + width / 24 * (5 * one + 8 * two - three)
            for known, one, two, three in zip(below, left, middle, right, strict=True)
        ]
        below_end = [
            known + width / 6 * (one + 4 * two + three)
            for known, one, two, three in zip(below, left, middle, right, strict=True)
        ]
        for index in range(len(rivals)):
            chances[index] += (
                width
                / 6
                * (
                    _win(index, left, below)
                    + 4 * _win(index, middle, below_middle)
                    + _win(index, right, below_end)
                )
            )
        left, below = right, below_end
    # Rounding may give slightly less than 0 or more than 1.
    chances = [max(chance, 0.0) for chance in chances]
    return tuple(chance / math.fsum(chances) for chance in chances)


def split_p_value(seen: Sequence[int], shares: Sequence[float]) -> float | None:
    """Return the probability of so uneven a split by chance: a chi-square test.

    Below about 0.001, the split is unlikely to be due to chance.

    Args:
        seen: The customers who saw each variation.
        shares: The configured shares; only their proportions matter.

    Returns:
        None if there is nothing to compare.
    """
    wanted = [(count, share) for count, share in zip(seen, shares, strict=True)]
    # Chance never shows a variation of 0%.
    if any(count and share <= 0 for count, share in wanted):
        return 0.0
    wanted = [(count, share) for count, share in wanted if share > 0]
    people, whole = sum(count for count, _ in wanted), sum(share for _, share in wanted)
    if len(wanted) < 2 or not people:
        return None
    distance = sum(
        (count - people * share / whole) ** 2 / (people * share / whole)
        for count, share in wanted
    )
    return _chi_square_above(distance, len(wanted) - 1)


_OFFSETS = (
    *(-30.0, -20.0, -15.0, -12.0, -10.0),
    *(step / 10 for step in range(-80, 81)),
    *(10.0, 12.0, 15.0, 20.0, 30.0),
)
"""The range of the integration, in deviations from the mean."""


def _knots(rival: Beta) -> list[float]:
    mean, deviation = rival.mean, rival.deviation
    return [min(max(mean + offset * deviation, 0.0), 1.0) for offset in _OFFSETS]


def _win(index: int, densities: Sequence[float], below: Sequence[float]) -> float:
    product = densities[index]
    for other, probability in enumerate(below):
        if other != index:
            product *= probability
    return product


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Return the fraction of the incomplete beta function, by Lentz's method."""
    numerator = 1.0
    denominator = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = denominator
    for m in range(1, _MAX_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / _away_from_zero(1 + term * denominator)
            numerator = _away_from_zero(1 + term / numerator)
            result *= denominator * numerator
        if abs(denominator * numerator - 1) < _EXACT:
            break
    return result


def _away_from_zero(value: float) -> float:
    # Lentz's method divides by it.
    return value if abs(value) > _TINY else _TINY


def _chi_square_above(distance: float, freedom: int) -> float:
    """Return the chi-square distribution's upper tail, for whole degrees of freedom."""
    half = distance / 2
    if freedom % 2:
        tail, power = math.erfc(math.sqrt(half)), 0.5
    else:
        tail, power = math.exp(-half), 1.0
    while power < freedom / 2:
        if half > 0:
            tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        power += 1
    return min(tail, 1.0)
