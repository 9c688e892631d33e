"""Waits for values of a request that synchronous code cannot read.

Synchronous code raises ``MustWaitError``; ``waiting`` and ``waiting_here`` wait for the
value, which is then on the visit, and read again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..models.visits import Visit

T = TypeVar("T")

Wait = Callable[[Awaitable[Any]], object]
"""Waits in this thread for an async source's value, and returns it."""

Left = Callable[[], float]
"""Returns the seconds that an async source may still take."""


class MustWaitError(Exception):
    """A value needs waiting, so that synchronous code cannot read it.

    Args:
        visit: The request, which will have the value.
        name: Its name among ``values_read``.
        value_of: Reads it; it may query a database, so it runs in a thread.
        begun: The awaitable, if the source was called already.
    """

    def __init__(
        self,
        visit: Visit,
        name: object,
        value_of: Callable[[], object] | None = None,
        *,
        begun: Awaitable[Any] | None = None,
    ) -> None:
        super().__init__("a source's value takes waiting")
        self._visit = visit
        self._name = name
        self._value_of = value_of
        self._begun = begun
        self._value: object = None
        self._error: Exception | None = None
        self.ended = False
        visit.values_read[name] = self

    async def wait(self, left: Left) -> None:
        """Wait for the value, so that the next reading finds it, or its error."""
        # Another reading at the same time waits for a value of its own.
        self._visit.values_read.pop(self._name, None)
        value: object = self._begun
        try:
            if self._value_of is not None and self._visit.in_thread is not None:
                value = await self._visit.in_thread(self._value_of)()
            if inspect.isawaitable(value):
                value = await _within(left(), value)
            self._value = value
        except Exception as error:
            self._error = error
        self._end()

    def wait_here(self, wait: Wait) -> None:
        """Wait for the value in a thread without an event loop.

        Raises:
            CannotWaitError: ``wait`` raised it; read the value again elsewhere.
        """
        self._visit.values_read.pop(self._name, None)
        value: object = self._begun
        try:
            if self._value_of is not None:
                value = self._value_of()
            self._value = wait(value) if inspect.isawaitable(value) else value
        except CannotWaitError:
            if inspect.iscoroutine(value):
                value.close()
            raise
        except Exception as error:
            self._error = error
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._visit.values_read[self._name] = self

    def result(self) -> object:
        """Return the source's value, or raise its exception."""
        if self._error is not None:
            raise self._error
        return self._value


class CannotWaitError(Exception):
    """An async source needs waiting, where waiting is impossible."""


class SlowSourceError(Exception):
    """An async source takes longer than a page may wait."""


async def _within(seconds: float, begun: Awaitable[T]) -> T:
    """Return an awaitable's result.

    Raises:
        SlowSourceError: It takes longer; it is cancelled.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            return await begun
    except TimeoutError:
        if limit.expired():
            raise SlowSourceError from None
        raise


async def waiting(read: Callable[[], T], left: Left) -> T:
    """Return the result of code that reads sources; wait for their values."""
    while True:
        try:
            return read()
        except MustWaitError as error:
            must_wait = error
        await must_wait.wait(left)


def waiting_here(read: Callable[[], T], wait: Wait) -> T:
    """The same in a thread without an event loop.

    Raises:
        CannotWaitError: ``wait`` raised it.
    """
    while True:
        try:
            return read()
        except MustWaitError as error:
            must_wait = error
        must_wait.wait_here(wait)
