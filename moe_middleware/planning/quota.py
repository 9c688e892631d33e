"""The workspace's quota in a simulation: our budgets, and MoEngage's own count. Pure.

The budgets are the middleware's: ``client.budget`` decides with the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..client.budget.limits import Limits
from ..client.budget.window import Window
from ..network.published_limits import Published
from ..network.rate_limit import WINDOW
from .site import Setup


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the fetches that one simulated fetch stands for.

    Attributes:
        made: Fetches that MoEngage answered.
        kept_back: Fetches that our budget did not let go.
        refused: Fetches that MoEngage answered with 429.
    """

    made: int = 0
    kept_back: int = 0
    refused: int = 0


class Quota:
    """Decides which fetches are made.

    Args:
        setup: The limit, and which processes share one count.
    """

    def __init__(self, setup: Setup) -> None:
        self._limit = setup.limit
        self._processes_of = {
            "process": 1,
            "host": setup.processes,
            "all": setup.all_processes,
        }[setup.budget]
        budgets = -(-setup.all_processes // self._processes_of)
        self._budgets = [(Limits(setup.limit), Window()) for _ in range(budgets)]
        self._minute, self._taken = 0, 0

    def take(self, process: int, now: float, weight: int) -> Outcome:
        """Make the fetches of one page, as far as they may be made.

        Args:
            process: The index of the process.
            now: In unix seconds.
            weight: How many fetches this one stands for.
        """
        limits, window = self._budgets[process // self._processes_of]
        if not window.take(now, limits.order(now, 0.0)).granted:
            return Outcome(kept_back=weight)
        # ``take`` has counted one of them.
        window.note(now, weight - 1)
        made, published = self._answer(now, weight)
        news = limits.learn(now, window.total, published)
        if news is not None:
            window.heed(now, news)
        # The first refusal of a minute keeps the others back.
        refused = int(published.refused)
        return Outcome(made, weight - made - refused, refused)

    def _answer(self, now: float, weight: int) -> tuple[int, Published]:
        """Count fetches as MoEngage does, by the clock's minutes."""
        minute = int(now // WINDOW)
        if minute != self._minute:
            self._minute, self._taken = minute, 0
        made = min(weight, self._limit - self._taken)
        self._taken += made
        published = Published(
            limit=self._limit,
            remaining=self._limit - self._taken,
            resets_in=(minute + 1) * WINDOW - now,
            refused=made == 0,
        )
        return made, published
