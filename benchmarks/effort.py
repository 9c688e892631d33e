"""How much measuring a run may do."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_ROUNDS = 1
QUICK_SHARE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Says how often to measure, and how much at once.

    Attributes:
        rounds: Rounds of every measurement; None leaves each its own number.
        quick: Do just enough to see that everything works.
        alone: Leave out the rivals that have an environment of their own.
    """

    rounds: int | None = None
    quick: bool = False
    alone: bool = False

    def rounds_of(self, usual: int) -> int:
        """Return how many rounds to measure where ``usual`` is a part's own number."""
        return self.rounds or (QUICK_ROUNDS if self.quick else usual)

    def amount(self, usual: int) -> int:
        """Return how much work one round does."""
        return max(1, usual // QUICK_SHARE) if self.quick else usual
