"""A budget that several processes share, and what each does while they cannot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..gcra import Rate, is_ahead
from .memory import Count
from .pace import Pace

logger = logging.getLogger(__name__)

RETRY_AFTER = 2.0
"""How long a ledger that failed is left alone, in seconds; then one take tries it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Calls that want to go.

    Attributes:
        calls: How many.
        rate: How fast calls may go.
        closed_for: For how long nobody may call, in seconds: the API said so.
        returning: Whether this process counted by itself until now.
    """

    calls: int
    rate: Rate
    closed_for: float = 0.0
    returning: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """What became of an order.

    Attributes:
        wait: 0.0 where the calls may go, else how long until they may, in seconds.
        users: How many processes share the budget; 0 where they were not counted.
    """

    wait: float
    users: int


class LedgerError(Exception):
    """The ledger did not answer; the text holds neither ids nor passwords."""


class Ledger(Protocol):
    """What has been used up by all, in a place that they share."""

    @property
    def shown(self) -> str:
        """Where that is, as logs may show it."""
        ...

    async def spend(self, order: Order) -> Spent:
        """Take calls.

        Raises:
            LedgerError: It cannot be told what has been used up.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what the running event loop holds."""
        ...


class SharedBudget:
    """The budget contract over a ledger.

    While the ledger fails, this process counts in its memory, and no more than its
    share of the limit: what it last knew of how many there are.

    Args:
        ledger: Where all count.
        limit: Calls in a minute, of all together.
        fixed: Whether a higher limit that the API publishes makes no difference.
        patience: How long one take waits for the ledger, in seconds.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        limit: int,
        *,
        fixed: bool = False,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._pace = Pace(limit, fixed=fixed)
        self._patience = patience
        self._clock = clock
        self._users = 1
        self._count = Count()
        self._alone = False
        self._alone_until = 0.0
        self._tell_closing = False

    async def take(self, calls: int = 1) -> float:
        now = self._clock()
        closed_for = self._pace.closed_for(now)
        if closed_for and not self._tell_closing:
            return closed_for
        rate = self._pace.rate(now)
        if self._alone:
            if is_ahead(self._alone_until, now):
                return closed_for or self._spend_alone(rate, calls)
            # This take tries the ledger again; the others need not wait with it.
            self._alone_until = now + RETRY_AFTER
        self._tell_closing = False
        order = Order(calls, rate, closed_for, self._alone)
        try:
            async with asyncio.timeout(self._patience):
                spent = await self._ledger.spend(order)
        except (LedgerError, TimeoutError) as error:
            self._leave(rate, error)
            return closed_for or self._spend_alone(rate, calls)
        self._return(spent)
        return spent.wait

    def learn(
        self, *, limit: int | None, remaining: int | None, resets_in: float | None
    ) -> None:
        stopped = self._pace.learn(
            self._clock(), limit=limit, remaining=remaining, resets_in=resets_in
        )
        # The next take tells the others, who would be refused one by one.
        self._tell_closing = self._tell_closing or stopped

    async def aclose(self) -> None:
        await self._ledger.aclose()

    def _spend_alone(self, rate: Rate, calls: int) -> float:
        return self._count.spend(self._clock(), rate.shared_by(self._users), calls)

    def _leave(self, rate: Rate, error: Exception) -> None:
        now = self._clock()
        self._alone_until = now + RETRY_AFTER
        if self._alone:
            return
        self._alone = True
        self._count.drain(now, rate.shared_by(self._users))
        logger.warning(
            "budget_alone store=%s share=1/%d error=%s",
            self._ledger.shown,
            self._users,
            error if isinstance(error, LedgerError) else "no answer in time",
        )

    def _return(self, spent: Spent) -> None:
        self._users = spent.users or self._users
        if self._alone:
            self._alone = False
            logger.warning("budget_shared_again store=%s", self._ledger.shown)
