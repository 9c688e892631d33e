"""One event loop in a thread of its own, for doors that have none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for sync code. The thread starts at the first need.

    It is a daemon: it never holds up the interpreter's exit. A forked child starts
    another one, at its first need.
    """

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread has been started in this process."""
        return self._loop is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, running in its thread."""
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    threading.Thread(
                        target=_run, args=(loop,), name="moe-loop", daemon=True
                    ).start()
                    self._loop = loop
        return self._loop

    def run(self, steps: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine there and return its result.

        Args:
            steps: The coroutine.
            timeout: How long to wait, in seconds; None waits to its end.

        Raises:
            TimeoutError: It has not ended in time, and is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(steps, self.loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


background = LoopThread()
"""The one of this process."""
