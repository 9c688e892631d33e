"""Who gets which variation, and who is held back. Pure: a hash decides.

The same user gets the same in every process, for as long as the percentages stay. When
one percentage moves and the others keep their proportions, only users whom the
arithmetic forces to move do: all of them into, or all of them out of, that variation.
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
        variation: What the user gets.
        bucket: The user's place, 0 to 100, on the bar on which the variations lie
            side by side, each as long as its percentage.
    """

    variation: Variation
    bucket: float


def assign(experience: Experience, audience: Audience, user_id: str) -> Assignment:
    """Return the user's variation: the same one each time and in every process."""
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
    """Whether a user is in a control group; nobody without an id is.

    Args:
        group: The global one or an experience's own.
        user_id: The customer's or the visitor's.
        salt: What makes the draw independent of every other.
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

    Each one's time is exponential, its pace the percentage, so each wins in that
    share of the races. Another pace of one runner changes no race among the others.
    """
    place = next(fractions)
    both = -math.log1p(-next(fractions)) - math.log1p(-next(fractions))
    # Two that race each other are decided by the place alone.
    times = [place * both, (1 - place) * both]
    times += [-math.log1p(-next(fractions)) for _ in percents[2:]]
    arrivals = [
        (time / percent, index)
        for index, (time, percent) in enumerate(zip(times, percents, strict=True))
        if percent > 0
    ]
    return min(arrivals)[1]


def _fractions(text: str) -> Iterator[float]:
    """Yield numbers from 0 up to 1, without 1, that only depend on the text."""
    digest = text.encode("utf-8", "surrogatepass")
    while True:
        digest = hashlib.sha256(digest).digest()
        for start in range(0, 32, 8):
            yield (int.from_bytes(digest[start : start + 8]) >> 11) / 2**53
