"""One blocking call in a thread of its own, awaited without holding anyone up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


def in_thread(call: Callable[[], Result], name: str) -> asyncio.Future[Result]:
    """Start a call in a new thread; the future brings its result or its error.

    The loop's own threads are the app's: a call that hangs there keeps the app's sync
    handlers waiting, and the interpreter's exit, too. Wait for the future through
    ``asyncio.wait`` or ``asyncio.shield``: others may wait for it as well.

    Args:
        call: What blocks.
        name: The thread's name.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()
    # Whoever waited may be gone by then; an error is no news to anybody else.
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
        # The loop may have been closed meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
