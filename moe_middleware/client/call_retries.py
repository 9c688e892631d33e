"""When a call may be sent: its turn in the budget, its pause before a retry."""

from __future__ import annotations

import asyncio
import random
import time

from ..models.errors import BudgetError, MoEngageError, RateLimitedError
from ..network.backoff import backoff
from .budget import CallBudget, Taken

FIRST_PAUSE = 0.07
LONGEST_PAUSE = 2.0
"""Seconds. The pause before another try doubles with each failure."""

WAITING_SHARE = 0.5
"""The share of a fetch's time that it may wait for its turn in the budget."""


async def take_turn(budget: CallBudget, deadline: float) -> Taken:
    """Take a call from the budget, and wait for its turn if there is time.

    Raises:
        BudgetError: No call is left, or the wait would take too long.
    """
    while True:
        can_wait = (deadline - time.monotonic()) * WAITING_SHARE
        taken = await budget.take(within=can_wait)
        if taken.wait > can_wait or (taken.granted and not taken.wait):
            break
        # Refused calls ask again at slightly different times, not all at once.
        spread = 0.0 if taken.granted else random.uniform(0.001, 0.01)
        await asyncio.sleep(taken.wait + spread)
        if taken.granted:
            break
    if not taken.granted:
        raise BudgetError(taken.wait)
    return taken


def retry_pause(error: MoEngageError, failures: int, left: float) -> float | None:
    """Return the seconds before the next try; None if a retry makes no sense."""
    # ``take_turn`` has waited for the budget already.
    if not error.retryable or isinstance(error, BudgetError):
        return None
    pause = backoff(
        failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE, jitter=random.random()
    )
    if isinstance(error, RateLimitedError):
        # A call before the reset is refused and counts: wait for it, or give up.
        pause = max(pause, error.retry_after if error.retry_after is not None else left)
    return pause if pause < left else None
