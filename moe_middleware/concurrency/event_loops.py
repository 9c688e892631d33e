"""Values that belong to one event loop and end with it."""

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

    The value may refer to its loop. A loop that shuts down its async generators before
    it is closed, as those of ``asyncio.run``, anyio and every server do, ends the value
    then. The value of a loop that was closed otherwise is dropped when the next loop
    asks for its own.

    Args:
        make: Makes the running loop's value.
        end: Ends a value, on its loop.
        drop: Frees the resources of a value whose loop is closed.
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
        """Return the running loop's value; make it if there is none."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        return held.value if held is not None else self._begin(loop)

    def get(self) -> T | None:
        """Return the running loop's value; None if there is none."""
        held = self._held.get(asyncio.get_running_loop())
        return held.value if held is not None else None

    def pop(self) -> T | None:
        """Remove and return the running loop's value; the caller ends it."""
        return self._pop(asyncio.get_running_loop())

    def values(self) -> list[T]:
        """Return the values of all loops that have not ended."""
        return [held.value for held in list(self._held.values())]

    def let_go(self) -> object:
        """Forget all values without ending them; return an object that holds them."""
        held, self._held = self._held, {}
        return held

    def _begin(self, loop: asyncio.AbstractEventLoop) -> T:
        for other in list(self._held):
            # A loop closed by hand has ended nothing of ours.
            if other.is_closed() and (dropped := self._pop(other)) is not None:
                self._drop(dropped)
        held = _Held(self._make(), self._watch(loop))
        # The loop registers the generator at its first step.
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
        # It ends now; left to the loop, it would need a task.
        _step(held.watch.aclose)
        return held.value


def _step(begin: _Step) -> None:
    """Run the only step of an async generator that never waits."""
    with suppress(StopIteration):
        begin().send(None)
