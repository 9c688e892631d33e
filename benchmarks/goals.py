"""What a figure ought to be, as the table prints it, and whether it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

MET = "met"
NOT_MET = "NOT MET"


def ratio_verdict(goal: str, ours: Sequence[float], rival: Sequence[float]) -> str:
    """Judge figures taken side by side, round by round.

    Args:
        goal: ``<= 1.05`` and ``>= 0.9`` are about the median ratio, ``<= 20 us more``
            about the median difference. Anything else is no goal and no verdict.
        ours: Our figure of each round.
        rival: The rival's figure of the same round.
    """
    pairs = list(zip(ours, rival, strict=True))
    if goal.endswith(" more"):
        return figure_verdict(goal, median(one - other for one, other in pairs))
    return figure_verdict(goal, median(one / other for one, other in pairs))


def figure_verdict(goal: str, value: float | None) -> str:
    """Judge one figure by a goal: ``<= 5 ms``, ``>= 100,000/s`` or ``1 call``."""
    found = _GOAL.match(goal)
    if found is None or value is None:
        return ""
    limit = float(found["limit"].replace(",", ""))
    match found["sign"]:
        case "<=":
            good = value <= limit
        case ">=":
            good = value >= limit
        case _:
            good = value == limit
    return MET if good else NOT_MET


_GOAL = re.compile(r"(?P<sign><=|>=|) ?(?P<limit>\d[\d,]*(\.\d+)?)(?=$|[ /])")
