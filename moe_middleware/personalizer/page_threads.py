"""Runs a page's fetches on its request's event loop, from any thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import Future
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeVar

from ..logs.repeated_lines import RepeatLogger
from .current import on_event_loop
from .page_state import PageState

T = TypeVar("T")

logger = logging.getLogger(__name__)
_repeat_logger = RepeatLogger(logger)


GRACE = 1.0
"""Seconds that a thread waits for the request's event loop beyond the page's budget."""


class PageThreads(PageState):
    """The methods of a page that use its request's event loop."""

    def block_on(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Return the result of an async call, in a thread without an event loop.

        If the page's event loop does not answer in time, the result is ``otherwise``.
        """
        if on_event_loop():
            steps.close()
            raise RuntimeError(
                "this would block the event loop for every visitor: await "
                "experiences.ready() or experiences.fetch() here"
            )
        # Sources are read in the app's own thread, with its database connections.
        self._meet_here()
        if (submitted := self._submit(steps)) is not None:
            try:
                return submitted.result(self.left() + GRACE)
            except TimeoutError:
                submitted.cancel()
                self._give_up(steps)
        self._log_silent()
        return otherwise

    async def _on_own_loop(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Await on the loop of this request: a view may run on another one.

        Fetches and their connections last as long as the request's loop.
        """
        try:
            async with asyncio.timeout(self.left() + GRACE):
                if (submitted := self._submit(steps)) is not None:
                    return await asyncio.wrap_future(submitted)
        except TimeoutError:
            self._give_up(steps)
        self._log_silent()
        return otherwise

    def _submit(self, steps: Coroutine[Any, Any, T]) -> Future[T] | None:
        """Start a coroutine on the loop of this request; None if the loop is closed."""
        try:
            return asyncio.run_coroutine_threadsafe(steps, self._loop)
        except RuntimeError:
            steps.close()
            return None

    def _give_up(self, steps: Coroutine[Any, Any, Any]) -> None:
        """Close a coroutine that a stopped loop has not started."""
        if not self._loop.is_running() and getcoroutinestate(steps) == CORO_CREATED:
            steps.close()

    def _log_silent(self) -> None:
        state = "running" if self._loop.is_running() else "stopped"
        _repeat_logger.log(logging.WARNING, "loop_silent loop=%s: %s", state, _SILENT)

    def _meet_here(self) -> None:
        """Identify the visitor in this thread, if not done yet."""
        raise NotImplementedError


_SILENT = (
    "a thread has asked this request's event loop for experiences; it has stopped or "
    "is held up, so these are fallbacks: ask before it ends, and keep blocking calls "
    "off it"
)
