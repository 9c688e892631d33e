"""The loop that empties the outbox: claim, report, then what the verdict says."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import assert_never

from . import wire
from .delivery import Ack, Bury, Halve, Retry, judge
from .errors import MoEngageError
from .models import Event
from .outbox import Claim, Outbox

logger = logging.getLogger(__name__)

CLAIM_LIMIT = 500
"""Events claimed at once: a few reports' worth, delivered well within a lease."""


class Relay:
    """Delivers an outbox's events, one report after the other.

    Any number of relays may work on one outbox, in any number of processes.

    Args:
        outbox: Where the events wait.
        report: Reports events or raises, as ``MoEngageClient.report`` does.
        interval: The pause between two looks into an empty outbox, in seconds.
        lease_for: How long claimed events stay claimed, in seconds.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        outbox: Outbox,
        report: Callable[[Sequence[Event]], Awaitable[None]],
        *,
        interval: float = 1.0,
        lease_for: float = 30.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._report = report
        self._interval = interval
        self._lease_for = lease_for
        self._jitter = jitter
        self._failures = 0
        self._pause = 0.0

    async def run(self) -> None:
        """Deliver for ever, until cancelled."""
        while True:
            try:
                await self.deliver()
            except Exception as error:
                # The outbox itself fails; it says more in its own log line.
                logger.error("relay_failed error=%s", type(error).__name__)
            await asyncio.sleep(max(self._pause, self._interval))

    async def drain(self, timeout: float) -> None:
        """Deliver what waits, for ``timeout`` seconds at most; the rest stays."""
        try:
            async with asyncio.timeout(timeout):
                await self._outbox.flush()
                await self.deliver()
        except TimeoutError:
            logger.warning("drain_cut timeout=%g", timeout)

    async def deliver(self) -> None:
        """Deliver until nothing is due or a report fails."""
        self._pause = 0.0
        while not self._pause:
            claims = await self._outbox.claim(
                limit=CLAIM_LIMIT, lease_for=self._lease_for
            )
            if not claims:
                return
            await self._deliver_claims(claims)

    async def _deliver_claims(self, claims: Sequence[Claim]) -> None:
        open_claims = {claim.event.uuid: claim for claim in claims}
        try:
            for events in wire.batches(claim.event for claim in claims):
                if self._pause:
                    return
                batch = [open_claims[event.uuid] for event in events]
                await self._deliver_batch(batch)
                for event in events:
                    del open_claims[event.uuid]
        finally:
            # After a failure, or cancelled: others need not wait for the lease.
            if open_claims:
                ids = [claim.id for claim in open_claims.values()]
                await self._outbox.retry(ids, delay=self._pause)

    async def _deliver_batch(self, claims: Sequence[Claim]) -> None:
        ids = [claim.id for claim in claims]
        error = await self._reported([claim.event for claim in claims])
        self._failures = self._failures + 1 if error else 0
        verdict = judge(
            error, events=len(claims), failures=self._failures, jitter=self._jitter()
        )
        match verdict:
            case Ack():
                await self._outbox.ack(ids)
            case Retry(delay):
                self._pause = delay
                logger.warning(
                    "report_failed events=%d retry_in=%.1f error=%s",
                    len(ids),
                    delay,
                    type(error).__name__,
                )
                await self._outbox.retry(ids, delay=delay)
            case Halve():
                middle = len(claims) // 2
                await self._deliver_batch(claims[:middle])
                await self._deliver_batch(claims[middle:])
            case Bury(reason):
                logger.error("event_buried error=%s", type(error).__name__)
                await self._outbox.bury(ids, reason=reason)
            case _:
                assert_never(verdict)

    async def _reported(self, events: Sequence[Event]) -> Exception | None:
        try:
            await self._report(events)
        except MoEngageError as error:
            return error
        return None
