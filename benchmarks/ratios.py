"""Two measurements side by side: in interleaved rounds, told as ratios."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median

Measure = Callable[[], Awaitable[float]]
"""Measures one round and returns its figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the table.

    Attributes:
        what: What is compared, and with what.
        unit: The unit of both figures.
        ours: Our figure of each round.
        rival: The rival's figure of the same round.
        goal: What the ratio ought to be, as in ``<= 1.05``.
    """

    what: str
    unit: str
    ours: Sequence[float]
    rival: Sequence[float]
    goal: str

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the rival's, round by round."""
        return [ours / rival for ours, rival in zip(self.ours, self.rival, strict=True)]

    def __str__(self) -> str:
        ratios = self.ratios
        figures = f"{median(self.ours):>9.4g} {median(self.rival):>9.4g} {self.unit:<7}"
        spread = f"{min(ratios):.3f} {median(ratios):.3f} {max(ratios):.3f}"
        return f"{self.what:<{WIDTH}} {figures} {spread}   {self.goal}"


async def compare(
    what: str, *, ours: Measure, rival: Measure, unit: str, goal: str, rounds: int = 9
) -> Comparison:
    """Measure both in turns, so that what slows the machine down slows both.

    One round ahead of them warms up and is thrown away.
    """
    await ours()
    await rival()
    figures: dict[Measure, list[float]] = {ours: [], rival: []}
    for index in range(rounds):
        for measure in (ours, rival) if index % 2 else (rival, ours):
            figures[measure].append(await measure())
    return Comparison(
        what=what, unit=unit, ours=figures[ours], rival=figures[rival], goal=goal
    )


WIDTH = 58

HEADINGS = (
    f"{'':<{WIDTH}} {'':>9} {'':>9} {'':<7} ratio\n"
    f"{'what':<{WIDTH}} {'ours':>9} {'rival':>9} {'unit':<7} min   median max     goal"
)
