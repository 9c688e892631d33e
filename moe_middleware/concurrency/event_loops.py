"""What belongs to one event loop, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_Step = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    value: T
    watch: AsyncGenerator[None, None]


async def _nothing(_: object) -> None:
    pass


class PerLoop(Generic[T]):
    """One value for each event loop, made at its first use and ended with its loop.

    The value may hold its loop. A loop that shuts down its async generators, as
    ``asyncio.run``, anyio and every server do before they close one, ends the value
    there. Of a loop that was closed without that, the value is dropped when the next
    loop asks for one.

    Args:
        make: Makes the running loop's value.
        end: Ends a value, on its loop.
        drop: Frees what it can of a value whose loop is closed.
    """

    def __init__(
        self,
        make: Callable[[], T],
        *,
        end: Callable[[T], Awaitable[None]] = _nothing,
        drop: Callable[[T], object] = bool,
    ) -> None:
        self._make = make
        self._end = end
        self._drop = drop
        self._held: dict[asyncio.AbstractEventLoop, _Held[T]] = {}

    def current(self) -> T:
        """Return the running loop's value, made where there is none."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        return held.value if held is not None else self._begin(loop)

    def get(self) -> T | None:
        """Return the running loop's value; None where there is none."""
        held = self._held.get(asyncio.get_running_loop())
        return held.value if held is not None else None

    def pop(self) -> T | None:
        """Give the running loop's value away; the caller ends it."""
        return self._pop(asyncio.get_running_loop())

    def values(self) -> list[T]:
        """Return the values of all loops that have not ended."""
        return [held.value for held in list(self._held.values())]

    def let_go(self) -> object:
        """Forget all values and end none; return what to keep them alive by."""
        held, self._held = self._held, {}
        return held

    def _begin(self, loop: asyncio.AbstractEventLoop) -> T:
        for other in list(self._held):
            if other.is_closed() and (dropped := self._pop(other)) is not None:
                self._drop(dropped)
        held = _Held(self._make(), self._watch(loop))
        # The loop hears of the generator at its first step.
        _step(held.watch.__anext__)
        self._held[loop] = held
        return held.value

    async def _watch(
        self, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            held = self._held.pop(loop, None)
            if held is not None:
                with suppress(Exception):
                    await self._end(held.value)

    def _pop(self, loop: asyncio.AbstractEventLoop) -> T | None:
        held = self._held.pop(loop, None)
        if held is None:
            return None
        # It ends now, not by the loop, which would start a task for it.
        _step(held.watch.aclose)
        return held.value


def _step(begin: _Step) -> None:
    """Take the one step of an async generator that waits for nothing."""
    with suppress(StopIteration):
        begin().send(None)
