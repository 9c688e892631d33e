"""A Redis for commands that pages wait for: quick to give up, silent while it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ..concurrency.event_loops import PerLoop
from ..models.observers import Observer
from ..models.reasons import Reason
from ..network.breaker import Breaker, State
from ..network.redis import Command, RedisClients

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 10.0
"""A command that timed out still runs for this many timeouts. That keeps its
connection usable, and lets a slow new connection get ready."""

REPEATING = 0.8
"""The share of the timeout during which a command is repeated that its server did not
carry out: its last answer is then the reason."""

FAILURES_IN_A_ROW = 5
"""Failed commands in a row after which no command is sent for a while."""

SILENT_FOR = 1.0
"""The first pause after those failures, or after a refusal (server full or read-only),
in seconds. It then grows as the breaker's own pauses do."""

LOG_EVERY = 60.0
"""A server that fails repeatedly is logged at most once per this many seconds."""

LATE_TURNS = 3
"""Extra turns of the event loop before a timeout counts: the loop may have been busy
while the answer was there already."""


class GuardedRedis:
    """Sends commands to a Redis that may be slow, full or gone.

    While Redis fails, a breaker answers None at once; a probe in the background finds
    out when Redis works again.

    Args:
        url: ``redis://`` or ``rediss://``.
        probe_key: A key that the probe may write.
        timeout: The time limit of one command, in seconds.
        stopwatch: A clock that never jumps, in seconds.
        observer: Receives the breaker's states as those of ``shared_cache``.
        recovered: Awaited each time after Redis works again.

    Raises:
        SettingsError: The redis package is missing, or the address is invalid.
    """

    def __init__(
        self,
        url: str,
        *,
        probe_key: str,
        timeout: float,
        stopwatch: Callable[[], float],
        observer: Observer | None,
        recovered: Callable[[], Awaitable[None]],
    ) -> None:
        self._clients = RedisClients(
            url,
            where="cache.redis",
            timeout=PATIENCE * timeout,
            patience=REPEATING * timeout,
        )
        self._probe_key = probe_key
        self._timeout = timeout
        self._stopwatch = stopwatch
        self._observer = observer or Observer()
        self._recovered = recovered
        self.begin()

    def begin(self) -> None:
        """Start without history; after a fork the probe, if any, is the parent's."""
        self._breaker = Breaker(changed=self._breaker_changed)
        self._background: PerLoop[set[asyncio.Future[Any]]] = PerLoop(set)
        self._probing: asyncio.Future[None] | None = None
        self._failure = ""
        self._failures = 0
        self._answered_at = self._stopwatch()
        self._is_down = False
        # The first failure is logged whatever the stopwatch shows.
        self._logged_at = -LOG_EVERY

    async def ask(self, key: str, *commands: Command) -> list[Any] | None:
        """Return Redis's answers; None if it fails, is too late, or is not asked.

        Args:
            key: A key of the commands; in a cluster, all have its slot.
            commands: The words of each.
        """
        breaker = self._breaker
        # A loop that was closed by hand never calls back.
        if self._probing is not None and self._probing.get_loop().is_closed():
            self._probe_ended(self._probing)
        if not breaker.allows(self._stopwatch()):
            return None
        if breaker.state is State.PROBING:
            self._probing = self.in_background(self._probe())
            self._probing.add_done_callback(self._probe_ended)
            return None
        try:
            answers = await self._try(key, commands, self._timeout)
        except _NoAnswer as failure:
            self._note(failure)
            return None
        self._note(None)
        return answers

    def in_background(self, work: Awaitable[T]) -> asyncio.Future[T]:
        """Run on, even if the caller stops waiting."""
        task = asyncio.ensure_future(work)
        background = self._background.current()
        background.add(task)

        def over(task: asyncio.Future[Any]) -> None:
            background.discard(task)
            if not task.cancelled():
                # Otherwise the loop reports an exception that was never retrieved.
                task.exception()

        task.add_done_callback(over)
        return task

    async def warm(self) -> None:
        """Connect to every primary; if all fail, the pause begins at once."""
        reaching = self.in_background(self._clients.reach())
        await asyncio.wait([reaching])
        if reaching.cancelled():
            return
        error = reaching.exception()
        failed = reaching.result() if error is None else [error]
        # One primary of a cluster that answers is worth asking.
        if self._breaker.state is State.CLOSED and failed and all(failed):
            self._failure = str(_no_answer(next(filter(None, failed))))
            self._breaker.pause(self._stopwatch(), SILENT_FOR, Reason.UNREACHABLE)

    async def settle(self) -> None:
        """Wait until nothing of the running event loop runs in the background."""
        while tasks := self._running():
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Wait for background work, but not for long, and close the connections."""
        if tasks := self._running():
            await asyncio.wait(tasks, timeout=PATIENCE * self._timeout)
        cancelled = self._running()
        for task in cancelled:
            task.cancel()
        if cancelled:
            await asyncio.wait(cancelled)
        await self._clients.aclose()

    def _running(self) -> list[asyncio.Future[Any]]:
        return list(self._background.get() or ())

    async def _try(
        self, key: str, commands: Sequence[Command], timeout: float
    ) -> list[Any]:
        """Return Redis's answers, or raise ``_NoAnswer`` when the time is up."""
        task = self.in_background(self._clients.ask(key, commands))
        await asyncio.wait((task,), timeout=timeout)
        for _ in range(LATE_TURNS):
            if not task.done():
                await asyncio.sleep(0)
        if not task.done() or task.cancelled():
            raise _NoAnswer(f"no answer within {timeout:g} seconds")
        error = task.exception()
        answers = [] if error else task.result()
        for one in (error, *answers):
            if isinstance(one, BaseException):
                raise _no_answer(one) from None
        return answers

    def _note(self, failure: _NoAnswer | None) -> None:
        breaker, now = self._breaker, self._stopwatch()
        if breaker.state is not State.CLOSED:
            return  # only the probe's outcome counts
        if failure is None:
            self._failures, self._answered_at = 0, now
            breaker.succeeded(now)
            return
        self._failure = str(failure)
        self._failures += 1
        # Many failures at one moment, with others answered, mean a busy event loop.
        is_silent = now >= self._answered_at + self._timeout
        in_a_row = self._failures >= FAILURES_IN_A_ROW and is_silent
        if failure.is_refusal or in_a_row:
            breaker.pause(now, SILENT_FOR, Reason.UNREACHABLE)
        else:
            breaker.failed(now)

    async def _probe(self) -> None:
        """Find out whether Redis answers again, in time, and accepts writes."""
        breaker, name = self._breaker, self._probe_key
        try:
            # A new connection may take longer than a page would wait.
            await self._try(name, [("PING",)], PATIENCE * self._timeout)
            # A full or read-only server answers PING all the same.
            await self._try(name, [("SET", name, b"", "PX", 1000)], self._timeout)
        except _NoAnswer as failure:
            self._failure = str(failure)
            breaker.failed(self._stopwatch())
            return
        self._failures, self._answered_at = 0, self._stopwatch()
        breaker.succeeded(self._stopwatch())
        await self._recovered()

    def _probe_ended(self, probe: asyncio.Future[None]) -> None:
        if self._probing is probe:
            self._probing = None
            # It may have ended before it began, with its event loop.
            self._breaker.abandoned()

    def _breaker_changed(self, state: State) -> None:
        """Log when Redis fails and when it works again, not at each change between."""
        self._observer.breaker_changed("shared_cache", state)
        now, shown = self._stopwatch(), self._clients.shown
        if state is State.OPEN and not self._is_down:
            if now >= self._logged_at + LOG_EVERY:
                self._is_down, self._logged_at = True, now
                logger.warning(
                    "shared_cache_down redis=%s error=%s: every process goes on with "
                    "its own cache until it answers: is it running, and is the "
                    "address in cache.redis right?",
                    *(shown, self._failure.rstrip(".")),
                )
        elif state is State.CLOSED and self._is_down:
            self._is_down = False
            logger.warning("shared_cache_back redis=%s", shown)


class _NoAnswer(Exception):
    """Redis did not answer in time, or its answer is an error.

    Attributes:
        is_refusal: Whether Redis understood the command and refused it.
    """

    def __init__(self, why: str, *, is_refusal: bool = False) -> None:
        super().__init__(why)
        self.is_refusal = is_refusal


def _no_answer(error: BaseException) -> _NoAnswer:
    from redis.exceptions import (
        AskError,
        ClusterDownError,
        ResponseError,
        TryAgainError,
    )

    from ..network.redis.advice import described

    # Of these, other keys know nothing.
    is_of_a_slot = isinstance(error, (AskError, ClusterDownError, TryAgainError))
    is_refusal = isinstance(error, ResponseError) and not is_of_a_slot
    return _NoAnswer(described(error), is_refusal=is_refusal)
