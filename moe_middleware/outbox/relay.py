"""The loop that delivers an outbox's events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from asyncio import Task
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ..logs.repeated_lines import RepeatLogger
from ..models.errors import OutboxError
from ..models.observers import Observer
from ..settings.sections import EventSettings
from . import Outbox
from .rounds import GIVE_BACK_FOR, Deliverer, Report

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = 60.0
"""Seconds that ``run(until_empty=True)`` goes on while its outbox fails."""

MANY_UNSAVED = 100
"""With so many events that wait to be stored, ``run`` does not rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayState:
    """The state of a relay's deliveries. Times are in unix seconds.

    Attributes:
        failures: How many attempts failed since the last success.
        error: The last one's error; None without failures.
        delivered: How many events it has delivered.
        delivered_at: The time of its last delivery.
        failed_at: The time of its last failure ever.
        next_try_at: The time of the next attempt after a failure; else None.
    """

    failures: int = 0
    error: Exception | None = None
    delivered: int = 0
    delivered_at: float | None = None
    failed_at: float | None = None
    next_try_at: float | None = None


class Relay:
    """Delivers an outbox's events, several reports at a time.

    Any number of relays, in any number of processes, may use one outbox.

    Args:
        outbox: The outbox.
        report: Reports events or raises, with a timeout of its own, as
            ``MoEngageClient.report`` does.
        parallel: The number of concurrent reports.
        interval: Seconds between two claims from an empty outbox.
        lease_for: Seconds of a lease.
        max_age: The most seconds between an event and a further try.
        observer: Receives the counts of delivered, retried and buried events.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        outbox: Outbox,
        report: Report,
        *,
        parallel: int = 8,
        interval: float = 1.0,
        lease_for: float = 30.0,
        max_age: float = 7 * 86_400.0,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._interval = interval
        self._stopwatch = stopwatch
        self._deliverer = Deliverer(
            outbox,
            report,
            parallel=parallel,
            lease_for=lease_for,
            max_age=max_age,
            observer=observer or Observer(),
            clock=clock,
            stopwatch=stopwatch,
            jitter=jitter,
        )
        self._unread_since: float | None = None
        self._logger = RepeatLogger(logger, every=60.0)
        self._stopped = asyncio.Event()
        self._roused = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: Task[None] | None = None

    @classmethod
    def configured(
        cls, settings: EventSettings, outbox: Outbox, report: Report, observer: Observer
    ) -> Self:
        """Return a relay with the ``events`` settings."""
        return cls(
            outbox,
            report,
            parallel=settings.parallel,
            interval=settings.interval,
            lease_for=settings.lease,
            max_age=settings.max_age,
            observer=observer,
        )

    @property
    def failures(self) -> int:
        """How many attempts failed since the last success."""
        return self._deliverer.outage.failures

    def state(self) -> RelayState:
        """Return the state of the deliveries."""
        outage = self._deliverer.outage
        return RelayState(
            failures=outage.failures,
            delivered=self._deliverer.delivered,
            delivered_at=self._deliverer.delivered_at,
            failed_at=outage.failed_at,
            error=outage.error,
            next_try_at=outage.next_try_at if outage.failures else None,
        )

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until stopped or cancelled.

        Args:
            until_empty: Whether to end when no event is waiting, too.

        Raises:
            OutboxError: With ``until_empty``, the outbox may not be written, or has
                failed for a minute.
        """
        self._running = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        try:
            while not self._stopped.is_set():
                await self._rest(await self._deliver_or_log(until_empty=until_empty))
        finally:
            self._running = self._loop = None

    def stop(self) -> None:
        """Let ``run`` end for good when the running reports have ended."""
        self._stopped.set()
        self._deliverer.stop()
        self._roused.set()

    def rouse(self) -> None:
        """Let ``run`` try again at once, as after new credentials; on any thread."""
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._roused.set)

    async def drain(self, timeout: float) -> None:
        """End ``run``, then deliver waiting events for ``timeout`` seconds at most.

        It ends at the first failed report. Undelivered events stay in the outbox.
        """
        running = self._running
        self.stop()
        give_back_for = self._deliverer.give_back_for = min(GIVE_BACK_FOR, timeout / 4)
        try:
            async with asyncio.timeout(timeout - give_back_for):
                if running is not None:
                    await asyncio.wait([running])
                await self._outbox.flush()
                await self._deliverer.deliver(to_the_end=True, heeds_stop=False)
        except TimeoutError:
            logger.warning("drain_cut timeout=%g", timeout)
            if running is not None and running.cancel():
                await asyncio.wait([running], timeout=give_back_for)
        except Exception as error:
            self._logger.log(
                logging.ERROR,
                "relay_failed error=%s: the outbox cannot be read or written, see its "
                "own line; its events stay for the next start",
                type(error).__name__,
            )

    async def deliver(self, *, to_the_end: bool = False) -> float:
        """Deliver claimable events until a report fails or ``stop`` is called.

        Args:
            to_the_end: Whether to claim again until no event is claimable; otherwise
                the last few events wait for further ones.

        Returns:
            Seconds to wait before the next attempt; 0.0 without a failure.
        """
        return await self._deliverer.deliver(to_the_end=to_the_end)

    async def _deliver_or_log(self, *, until_empty: bool) -> float:
        """Deliver; return the seconds to rest."""
        before = self._deliverer.delivered
        try:
            pause = await self.deliver(to_the_end=until_empty)
            counted = await self._outbox.count()
            if until_empty and not counted.waiting:
                self.stop()
        except Exception as error:
            now = self._stopwatch()
            self._unread_since = self._unread_since or now
            may_end = not isinstance(error, OutboxError) or error.may_end
            may_end &= now - self._unread_since < GIVE_UP_AFTER
            if until_empty and not may_end:
                # A deploy or a cron job is waiting for it.
                raise
            # The outbox logs its failure itself.
            self._logger.log(
                logging.ERROR,
                "relay_failed error=%s: the outbox cannot be read or written, see its "
                "own line; the relay goes on trying",
                type(error).__name__,
            )
            return self._interval
        self._unread_since = None
        # On a full disk acks make room for the next events, a few at a time.
        if self._deliverer.delivered > before and counted.unsaved >= MANY_UNSAVED:
            return pause
        return max(pause, self._interval)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._roused.wait()
            self._roused.clear()
