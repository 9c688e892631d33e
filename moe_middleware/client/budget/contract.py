"""What a budget of calls promises, whatever it is kept in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...network.published_limits import Published


@dataclass(frozen=True, slots=True)
class Taken:
    """What a budget says to a call.

    Attributes:
        granted: Whether it may go.
        wait: How long it waits before it goes, in seconds; or, where it may not go,
            until asking again makes sense.
        number: Which call of the budget it is, for its answer.
        own: Which call of this process it is.
    """

    granted: bool
    wait: float = 0.0
    number: int = 0
    own: int = 0


class CallBudget(Protocol):
    """Says before each call whether the workspace's limit has room for it.

    Asking never raises and takes a fraction of a page's time: where the place that a
    budget is shared through fails, it counts in this process alone until that is back.
    """

    async def take(self, within: float = 0.0) -> Taken:
        """Take a call out of the budget.

        Args:
            within: How long the call can wait for its turn, in seconds.
        """
        ...

    def learn(self, taken: Taken, said: Published) -> None:
        """Heed what a call's answer said of the workspace's limit.

        Nothing learnt lasts longer than a minute, however wrong it was.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what the running event loop holds; the next take opens it anew."""
        ...
