"""Assigns variations and control groups by a hash. Pure: no I/O, no clock.

A user gets the same variation in every process while the percentages stay. If one
percentage changes and the others keep their proportions, only as many users move as
necessary: all of them into that variation, or all of them out of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..workspace.workspace import Audience, ControlGroup, Experience, Variation


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One user's variation.

    Attributes:
        bucket: The user's place, 0 to 100, on a bar on which the variations lie side by
            side, each as long as its percentage.
    """

    variation: Variation
    bucket: float


def assign(experience: Experience, audience: Audience, user_id: str) -> Assignment:
    """Return the user's variation, the same one each time and in every process."""
    fractions = _fractions(f"{experience.cid_token}/{user_id}")
    variations = audience.variations
    if len(variations) <= 2:
        bucket = next(fractions) * 100
        second = len(variations) == 2 and bucket >= variations[0].percent
        return Assignment(variation=variations[second], bucket=bucket)
    index = _first_to_arrive([one.percent for one in variations], fractions)
    start = math.fsum(one.percent for one in variations[:index])
    return Assignment(
        variation=variations[index],
        bucket=start + variations[index].percent * next(fractions),
    )


def is_held_back(group: ControlGroup, user_id: str, salt: str) -> bool:
    """Whether a user is in a control group; users without an id are in none.

    ``salt`` makes this draw independent of others.
    """
    if not user_id:
        return False
    if user_id in group.customer_ids or group.percent >= 100:
        return True
    return (
        group.percent > 0
        and next(_fractions(f"{salt}/control/{user_id}")) * 100 < group.percent
    )


def _first_to_arrive(percents: list[float], fractions: Iterator[float]) -> int:
    """Return the variation that wins the user's race.

    The time of each is exponential, with the percentage as its rate, so each wins in
    that share of the races. A change of one rate affects no race between the others.
    """
    place = next(fractions)
    both = -math.log1p(-next(fractions)) - math.log1p(-next(fractions))
    # For two variations the place alone decides.
    times = [place * both, (1 - place) * both]
    times += [-math.log1p(-next(fractions)) for _ in percents[2:]]
    arrivals = [
        (time / percent, index)
        for index, (time, percent) in enumerate(zip(times, percents, strict=True))
        if percent > 0
    ]
    return min(arrivals)[1]


def _fractions(text: str) -> Iterator[float]:
    """Yield numbers from 0 to 1 (exclusive) that depend on the text alone."""
    # An id may be any JSON text, with half a surrogate pair too.
    digest = text.encode("utf-8", "surrogatepass")
    while True:
        digest = hashlib.sha256(digest).digest()
        for start in range(0, 32, 8):
            # 53 bits are what a float holds exactly.
            yield (int.from_bytes(digest[start : start + 8]) >> 11) / 2**53
