"""A budget that several processes share; each counts alone while the store fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ...network.published_limits import Published
from ...network.rate_limit import ROUNDING, WINDOW, is_ahead
from .contract import Taken
from .limits import Limits
from .memory import Count
from .window import News, Order, Spent

logger = logging.getLogger(__name__)

RETRY_AFTER = 2.0
"""Seconds after a ledger's failure until one ``take`` tries it again."""

ASK_AGAIN_AFTER = 0.25
"""Seconds until a refusal is checked again: other processes may learn of new calls."""

SEEN_EVERY = 10.0
SEEN_FOR = 30.0
"""How often a process registers in a ledger, and how long it then counts, in
seconds."""


class LedgerError(Exception):
    """The ledger did not answer; the text contains neither ids nor passwords."""


class Ledger(Protocol):
    """Counts the calls of all processes in a shared store."""

    @property
    def shown(self) -> str:
        """The store's address, for logs."""

    async def spend(self, order: Order) -> Spent:
        """Take a call.

        Raises:
            LedgerError: The store cannot be read or written.
        """

    async def warm(self) -> None:
        """Connect the running event loop; the first order reports a failure."""

    async def aclose(self) -> None:
        """Close the running event loop's connections."""


class SharedBudget:
    """The budget contract over a ledger.

    While the ledger fails, this process counts in its memory. The calls left that the
    API publishes still apply; without them the process takes at most its share of the
    calls that were left.

    Args:
        ledger: The shared count.
        limits: Calls per minute of all processes together.
        patience: How long one ``take`` waits for the ledger, in seconds.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits,
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._patience = patience
        self._clock = clock
        self._users = 1
        self._left = limits.limit
        self._count = Count()
        self._seen = (0, 0)
        self._lost = 0
        self._news: tuple[float, News] | None = None
        self._closed_until = 0.0
        self._ask_again_at = 0.0
        self._alone = False
        self._alone_until = 0.0
        self._left_at, self._left_total, self._share = 0.0, 0, limits.limit

    async def take(self, within: float = 0.0) -> Taken:
        now = self._clock()
        order = self._limits.order(now, within)
        if self._alone:
            if is_ahead(self._alone_until, now):
                return self._take_alone(now, order)
            # This ``take`` tries the ledger again; others do not wait for it.
            self._alone_until = now + RETRY_AFTER
            order = replace(order, more=self._count.total - self._left_total)
        elif self._news is None and now < self._ask_again_at <= now + ASK_AGAIN_AFTER:
            return Taken(False, max(self._closed_until - now, ROUNDING))
        if self._lost:
            order, self._lost = replace(order, more=order.more + self._lost), 0
        waiting, self._news, seen = self._news, None, self._seen
        try:
            async with asyncio.timeout(self._patience):
                spent = await self._ledger.spend(
                    replace(order, news=_aged(waiting, now))
                )
        except (LedgerError, TimeoutError) as error:
            self._news = self._news or waiting
            self._leave(now, order, error)
            # Those calls are in this process's count already.
            return self._take_alone(self._clock(), replace(order, more=0))
        self._compare(now, seen, spent)
        return self._taken(now, order, spent)

    def learn(self, taken: Taken, published: Published) -> None:
        now = self._clock()
        news = self._limits.learn(now, taken.own, published)
        if news is None:
            return
        self._count.heed(now, news)
        # The next ``take`` passes it on to the ledger; a refusal takes precedence.
        waiting = self._news[1] if self._news is not None else None
        if taken.number and (waiting is None or news.refused or not waiting.refused):
            self._news = now, replace(news, number=taken.number)

    async def warm(self) -> None:
        await self._ledger.warm()

    async def aclose(self) -> None:
        await self._ledger.aclose()

    def _taken(self, now: float, order: Order, spent: Spent) -> Taken:
        self._users = spent.users or self._users
        self._left = spent.left
        if self._alone:
            self._alone = False
            logger.warning("budget_shared_again store=%s", self._ledger.shown)
        if spent.granted:
            # News of more calls has ended the last refusal before its time.
            self._ask_again_at = 0.0
            own = self._count.note(now)
            return Taken(True, spent.wait, spent.number, own)
        # A smooth budget's refusal ends with the next turn, not with the window.
        if not order.smooth:
            # Until then the ledger would give the same answer.
            self._closed_until = now + spent.wait
            self._ask_again_at = now + min(spent.wait, ASK_AGAIN_AFTER)
        return Taken(False, spent.wait)

    def _compare(self, now: float, seen: tuple[int, int], spent: Spent) -> None:
        """Notice a store that was emptied; the next order restores our own calls in it.

        Args:
            now: The time.
            seen: When the order was sent: how often the store had been emptied, and
                the largest number seen.
            spent: The result of the order.
        """
        times, number = self._seen
        # An order that was sent before the loss was noticed tells nothing new.
        if times != seen[0]:
            return
        if spent.number < seen[1]:
            self._lost = self._count.of_last(now, WINDOW)
            self._seen = times + 1, spent.number
        else:
            self._seen = times, max(number, spent.number)

    def _take_alone(self, now: float, order: Order) -> Taken:
        share = max(1, order.limit // self._users)
        if is_ahead(self._left_at + WINDOW, now):
            share = max(share, self._share)
        spent = self._count.take(now, replace(order, limit=min(share, order.limit)))
        return Taken(spent.granted, spent.wait, 0, spent.number)

    def _leave(self, now: float, order: Order, error: Exception) -> None:
        self._alone_until = self._clock() + RETRY_AFTER
        if self._alone:
            return
        self._alone = True
        self._left_at, self._left_total = now, self._count.total
        # This process's calls of the minute, and its share of the calls left.
        taken = self._count.of_last(now, WINDOW)
        self._share = taken + min(self._left, order.limit) // self._users
        logger.warning(
            "budget_alone store=%s share=1/%d error=%s",
            self._ledger.shown,
            self._users,
            error if isinstance(error, LedgerError) else "no answer in time",
        )


def _aged(waiting: tuple[float, News] | None, now: float) -> News | None:
    """Return waiting news with their age taken into account."""
    if waiting is None:
        return None
    received_at, news = waiting
    return replace(news, ends_in=news.ends_in - (now - received_at))
