"""What a budget of calls promises, whatever it is kept in."""

from __future__ import annotations

from typing import Protocol


class CallBudget(Protocol):
    """Says before each call whether the workspace's limit has room for it.

    Asking never raises and takes a fraction of a page's time: where the place that a
    budget is shared through fails, it counts in this process alone until that is back.
    """

    async def take(self, calls: int = 1) -> float:
        """Take calls out of the budget, all of them or none.

        Returns:
            0.0 where they may go now; else nothing was taken, and it is how long to
            wait until they can be, in seconds.
        """
        ...

    def learn(
        self, *, limit: int | None, remaining: int | None, resets_in: float | None
    ) -> None:
        """Heed what an answer of the API said of the workspace's limit.

        Nothing learnt lasts longer than a minute, however wrong it was.

        Args:
            limit: Calls in a minute.
            remaining: How many of them are left; 0 after a refusal.
            resets_in: How long until all are there again, in seconds.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what the running event loop holds; the next take opens it anew."""
        ...
