"""The contract of a budget of API calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...network.published_limits import Published


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of taking a call from a budget.

    Attributes:
        granted: Whether the call may be made.
        wait: Seconds to wait before the call; if it is not granted, before asking
            again.
        number: The call's number in the budget, for ``learn``.
        own: The call's number in this process.
    """

    granted: bool
    wait: float = 0.0
    number: int = 0
    own: int = 0


class CallBudget(Protocol):
    """Keeps the calls to the API below the workspace's limit.

    ``take`` never raises and takes a fraction of a page's time: if a shared store
    fails, the budget counts in this process alone until the store works again.
    """

    async def take(self, within: float = 0.0) -> Taken:
        """Take a call out of the budget.

        Args:
            within: How long the call can wait for its turn, in seconds.
        """

    def learn(self, taken: Taken, published: Published) -> None:
        """Apply the workspace's limit as a response published it, for a minute."""

    async def warm(self) -> None:
        """Connect the running event loop ahead of the first ``take``; never raise."""

    async def aclose(self) -> None:
        """Close the running event loop's connections; the next ``take`` reopens."""
