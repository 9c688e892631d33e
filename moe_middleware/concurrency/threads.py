"""Runs one blocking call in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


def in_thread(call: Callable[[], Result], name: str) -> asyncio.Future[Result]:
    """Start a call in a new thread; return a future for its result or error.

    The loop's default threads belong to the app: a call that hangs there would delay
    the app's sync handlers and the interpreter's exit. Wait for the future by
    ``asyncio.wait`` or ``asyncio.shield``: other tasks may wait for it, too.

    Args:
        call: The blocking call.
        name: The thread's name.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()
    # Otherwise the loop reports an exception that was never retrieved.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def settle(result: Result | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:
            failure = error
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    # A call that hangs must not keep the interpreter from ending.
    threading.Thread(target=run, name=name, daemon=True).start()
    return future
