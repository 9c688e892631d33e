"""The loop that delivers an outbox's events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import Task
from dataclasses import dataclass, field

from ..logs.repeated_lines import RepeatLogger
from ..models.errors import OutboxError
from .delivery import GIVE_BACK_FOR, Deliverer

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = 60.0
"""Seconds that ``run(until_empty=True)`` goes on while its outbox fails."""

MANY_UNSAVED = 100
"""With so many events that wait to be stored, ``run`` does not rest."""


@dataclass(eq=False)
class Relay(Deliverer):
    """Delivers an outbox's events, several reports at a time, until it is stopped.

    Any number of relays, in any number of processes, may use one outbox.

    Args:
        interval: Seconds between two claims from an empty outbox.
    """

    interval: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unread_since: float | None = None
        self._logger = RepeatLogger(logger, every=60.0)
        self._roused = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: Task[None] | None = None

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
            while not self._is_stopped:
                await self._rest(await self._deliver_or_log(until_empty=until_empty))
        finally:
            self._running = self._loop = None

    def stop(self) -> None:
        """Let ``run`` end for good when the running reports have ended."""
        super().stop()
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
        give_back_for = self._give_back_for = min(GIVE_BACK_FOR, timeout / 4)
        try:
            async with asyncio.timeout(timeout - give_back_for):
                if running is not None:
                    await asyncio.wait([running])
                await self.outbox.flush()
                await self.deliver(to_the_end=True, heeds_stop=False)
        except TimeoutError:
            logger.warning("drain_cut timeout=%g", timeout)
            # It gives back what it holds, so that no other relay waits for the leases.
            if running is not None and running.cancel():
                await asyncio.wait([running], timeout=give_back_for)
        except Exception as error:
            self._logger.log(
                logging.ERROR,
                "relay_failed error=%s: the outbox cannot be read or written, see its "
                "own line; its events stay for the next start",
                type(error).__name__,
            )

    async def _deliver_or_log(self, *, until_empty: bool) -> float:
        """Deliver; return the seconds to rest."""
        before = self.state.delivered
        try:
            pause = await self.deliver(to_the_end=until_empty)
            counted = await self.outbox.count()
            if until_empty and not counted.waiting:
                self.stop()
        except Exception as error:
            now = self.stopwatch()
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
            return self.interval
        self._unread_since = None
        # On a full disk acks make room for the next events, a few at a time.
        if self.state.delivered > before and counted.unsaved >= MANY_UNSAVED:
            return pause
        return max(pause, self.interval)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._roused.wait()
            self._roused.clear()
