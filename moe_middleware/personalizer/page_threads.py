"""A page between threads and event loops: its fetches run on its request's loop."""

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


class PageThreads(PageState):
    """A page's ways to its request's event loop."""

    __slots__ = ()

    def block_on(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Return what an async call returns, for a thread without an event loop.

        Where the page's event loop does not answer in time, that is ``otherwise``.
        """
        if on_event_loop():
            steps.close()
            raise RuntimeError(
                "this would block the event loop for every visitor: await "
                "experiences.ready() or experiences.fetch() here"
            )
        self._meet_here()
        if (sent := self._send_over(steps)) is not None:
            try:
                return sent.result(self._patience)
            except TimeoutError:
                sent.cancel()
                self._give_up(steps)
        self._say_silent()
        return otherwise

    async def _over_there(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Await on the loop of this request: a view may have another one, for itself.

        Fetches and their connections live as long as the request's does.
        """
        try:
            async with asyncio.timeout(self._patience):
                if (sent := self._send_over(steps)) is not None:
                    return await asyncio.wrap_future(sent)
        except TimeoutError:
            self._give_up(steps)
        self._say_silent()
        return otherwise

    def _send_over(self, steps: Coroutine[Any, Any, T]) -> Future[T] | None:
        """Begin steps on the loop of this request; None where that is closed."""
        try:
            return asyncio.run_coroutine_threadsafe(steps, self._loop)
        except RuntimeError:
            steps.close()
            return None

    def _give_up(self, steps: Coroutine[Any, Any, Any]) -> None:
        """Close steps that a stopped loop has not begun, and probably never will."""
        if not self._loop.is_running() and getcoroutinestate(steps) == CORO_CREATED:
            steps.close()

    def _say_silent(self) -> None:
        state = "running" if self._loop.is_running() else "stopped"
        _repeat_logger.log(logging.WARNING, "loop_silent loop=%s: %s", state, _SILENT)

    def _meet_here(self) -> None:
        """Recognise the visitor in this thread, if that is still to be done."""
        raise NotImplementedError


_SILENT = (
    "a thread has asked this request's event loop for experiences; it has stopped or "
    "is held up, so these are fallbacks: ask before it ends, and keep blocking calls "
    "off it"
)
