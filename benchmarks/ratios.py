"""Measurements side by side: in interleaved rounds, as ratios."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .goals import figure_verdict, ratio_verdict

Measure = Callable[[], Awaitable[float]]
"""Measures one round and returns its figure."""

NO_GOAL = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the table.

    Attributes:
        what: What is compared, and with what.
        unit: The unit of both figures.
        ours: Our figure of each round.
        rival: The rival's figure of the same round.
        goal: What the ratio ought to be, as in ``<= 1.05``; see ``goals``.
    """

    what: str
    unit: str
    ours: Sequence[float]
    rival: Sequence[float]
    goal: str = NO_GOAL

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the rival's, round by round."""
        return [ours / rival for ours, rival in zip(self.ours, self.rival, strict=True)]

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty where there is none."""
        return ratio_verdict(self.goal, self.ours, self.rival)

    def __str__(self) -> str:
        ratios = self.ratios
        figures = f"{median(self.ours):>9.4g} {median(self.rival):>9.4g} {self.unit:<7}"
        spread = " ".join(
            f"{ratio:<6.{_digits(ratio)}f}"
            for ratio in (min(ratios), median(ratios), max(ratios))
        )
        goal = f"{self.goal:<16} {self.verdict}".rstrip()
        return f"{self.what:<{WIDTH}} {figures} {spread} {goal}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table that has no rival.

    Attributes:
        what: What was measured.
        text: The figures, for people.
        goal: What ``value`` ought to be, as in ``<= 5 ms``; see ``goals``.
        value: What the goal is about; None gets no verdict.
    """

    what: str
    text: str
    goal: str = NO_GOAL
    value: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty where there is none."""
        return figure_verdict(self.goal, self.value)

    def __str__(self) -> str:
        goal = f"{self.goal:<16} {self.verdict}".rstrip()
        return f"{self.what:<{WIDTH}} {self.text:<{_TEXT}} {goal}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line of words: what the figures around it do not say by themselves."""

    text: str
    verdict: str = ""

    def __str__(self) -> str:
        return f"  ({self.text})"


Row = Comparison | Figure | Note


async def compare(
    what: str,
    *,
    ours: Measure,
    rival: Measure,
    unit: str,
    goal: str = NO_GOAL,
    rounds: int = 9,
) -> Comparison:
    """Measure both in turns, so that what slows the machine down slows both.

    One round ahead of them warms up and is thrown away.
    """
    figures = await measure_in_turns({"ours": ours, "rival": rival}, rounds)
    return Comparison(
        what=what, unit=unit, ours=figures["ours"], rival=figures["rival"], goal=goal
    )


async def measure_in_turns(
    measures: Mapping[str, Measure], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Return everyone's figures; each round begins with another of them.

    Args:
        measures: Who is measured, by name.
        rounds: How often.
        warm_up: Whether one round ahead of them is thrown away.
    """
    figures: dict[str, list[float]] = {name: [] for name in measures}
    order = list(measures)
    for name in order if warm_up else ():
        await measures[name]()
    for _ in range(rounds):
        order.append(order.pop(0))
        for name in order:
            figures[name].append(await measures[name]())
    return figures


def spread(values: Sequence[float], unit: str) -> str:
    """Return figures as ``median unit (min - max)``."""
    least, middle, most = (
        f"{value:,.{_digits(value)}f}"
        for value in (min(values), median(values), max(values))
    )
    return f"{middle} {unit} ({least} - {most})"


def _digits(value: float) -> int:
    size = abs(value)
    if size >= 1000 or float(value).is_integer():
        return 0
    return 1 if size >= 100 else 2 if size >= 10 else 3


WIDTH = 60
_TEXT = 48

HEADINGS = (
    f"{'':<{WIDTH}} {'':>9} {'':>9} {'':<7} ratio\n"
    f"{'what':<{WIDTH}} {'ours':>9} {'rival':>9} {'unit':<7} "
    f"{'min':<6} {'median':<6} {'max':<6} goal"
)
