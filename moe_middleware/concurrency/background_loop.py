"""An event loop in a thread of its own, for doors without one."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from .fork_hooks import register_fork_hooks

T = TypeVar("T")

logger = logging.getLogger(__name__)


class LoopThread:
    """Runs coroutines for sync code. The thread starts when it is first needed.

    It is a daemon, so that it never delays the interpreter's exit. A forked child
    starts its own thread. With gevent's patched threads it is a greenlet.
    """

    def __init__(self) -> None:
        self._forget()
        register_fork_hooks(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._thread: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread runs in this process.

        At the interpreter's very end, when objects are finalized, it does not any more.
        """
        started = self._loop is not None and self._process == os.getpid()
        return started and not sys.is_finalizing()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, running in its thread.

        Raises:
            RuntimeError: No thread can be started, or gevent came too late.
        """
        loop = self._loop
        # uWSGI forks without calling Python's fork hooks.
        if loop is None or self._process != os.getpid():
            loop = self._start()
        return loop

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._process != os.getpid():
            self._forget()
        cooperative = _gevent_has_patched(self._lock)
        with self._lock:
            if self._loop is None:
                _warn_of_sleeping_threads()
                loop = _cooperative_loop() if cooperative else asyncio.new_event_loop()
                try:
                    threading.Thread(
                        target=self._work, args=(loop,), name="moe-loop", daemon=True
                    ).start()
                except BaseException:
                    loop.close()
                    raise
                self._loop = loop
            return self._loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread = threading.get_ident()
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def is_elsewhere(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether ``loop`` is this one and the caller is in another thread.

        With greenlets as threads, asyncio cannot tell one thread from another.
        """
        return loop is self._loop and threading.get_ident() != self._thread

    def run(self, steps: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and return its result.

        Args:
            steps: The coroutine.
            timeout: Seconds to wait; None waits to the end.

        Raises:
            TimeoutError: Time was up; the coroutine is cancelled.
            RuntimeError: The caller is on the loop, which would wait for itself; or
                the interpreter is ending, which has stopped the loop's thread.
        """
        try:
            if sys.is_finalizing():
                raise RuntimeError(_ENDED)
            loop = self.loop
            if threading.get_ident() == self._thread:
                raise RuntimeError(_ITSELF)
        except BaseException:
            steps.close()
            raise
        future = asyncio.run_coroutine_threadsafe(steps, loop)
        try:
            return future.result(timeout)
        except BaseException:
            # Without effect if the coroutine itself failed; otherwise the caller has
            # given up.
            future.cancel()
            raise


def _gevent_has_patched(lock: object) -> bool:
    """Whether threads are greenlets.

    Args:
        lock: A lock made when this module was imported.

    Raises:
        RuntimeError: gevent patched the threads after that. A greenlet holding such a
            lock could be suspended, and another waiting for it would block the process.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return False
    if isinstance(lock, monkey.get_original("_thread", "LockType")):
        raise RuntimeError(_LATE)
    return True


_ITSELF = (
    "this code runs on moe_middleware's own event loop, which cannot wait for itself: "
    "await the async method instead, as in 'await MoEngageClient(...).fetch(...)'"
)

_ENDED = (
    "the interpreter is ending, and moe_middleware's event loop has ended: do this "
    "before, as in atexit, and not in a finalizer (__del__)"
)

_LATE = (
    "gevent patched the threads after moe_middleware was imported. Patch them first: "
    "with gunicorn --preload put 'from gevent import monkey; monkey.patch_all()' at "
    "the top of gunicorn.conf.py"
)


def _cooperative_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for a greenlet."""

    class Selector(selectors.DefaultSelector):
        """While it waits, other greenlets run, which are on no event loop."""

        def select(self, timeout: float | None = None) -> Any:
            loop = asyncio._get_running_loop()
            asyncio._set_running_loop(None)
            try:
                return super().select(timeout)
            finally:
                asyncio._set_running_loop(loop)

    return asyncio.SelectorEventLoop(Selector())


def _warn_of_sleeping_threads() -> None:
    """Warn if uWSGI runs no threads between requests, as its old versions do."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not getattr(uwsgi, "has_threads", True):
        logger.error(
            "threads_asleep server=uwsgi: impressions are delivered only while "
            "requests are handled: run uwsgi with --enable-threads"
        )


background = LoopThread()
"""The background loop of this process."""
