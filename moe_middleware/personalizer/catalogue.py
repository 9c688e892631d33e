"""Keeps the list of Active experiences up to date, from the workspace's metadata."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextvars import Context
from difflib import get_close_matches
from weakref import WeakSet

from ..concurrency.fork_hooks import register_fork_hooks
from ..logs.log_lines import one_line
from ..models.errors import MoEngageError, RateLimitedError
from ..models.experience import ExperienceMetadata
from ..network.backoff import backoff
from ..network.published_limits import LONGEST_WAIT

logger = logging.getLogger(__name__)

ACTIVE = "Active"

FIRST_RETRY = 5.0
"""Seconds. The pause doubles with every failed update, up to the interval."""

MAX_KEY_LENGTH = 50
"""The longest experience key, in characters."""

MAX_COMPARED = 500
"""Known keys at most with which an unknown one is compared; a workspace has 20
active."""

Metadata = Callable[[Sequence[str]], Awaitable[Sequence[ExperienceMetadata]]]


class Catalogue:
    """Knows which keys are worth fetching, and logs those that are not.

    It updates in the background, in one task for all event loops. Without a list every
    key counts as active: before the first update, if all updates fail, and if the list
    is empty, as in a wrong workspace. A failed update changes nothing.

    Args:
        keys: The configured keys; those that are not Active are logged once.
        metadata: Lists the experiences with some statuses, or all of them, as
            ``MoEngageClient.metadata`` does.
        interval: Seconds between two updates; 0 turns them off.
        advise: Returns advice on a failed update.
        sleep: Waits for so many seconds.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        keys: Iterable[str],
        metadata: Metadata,
        *,
        interval: float,
        advise: Callable[[MoEngageError], str] = lambda _: "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._keys = tuple(dict.fromkeys(keys))
        self._metadata = metadata
        self._interval = interval
        self._advise = advise
        self._sleep = sleep
        self._jitter = jitter
        self._active: frozenset[str] | None = None
        self._logged: set[str] = set()
        self._failures = 0
        self._is_empty = False
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._parents: list[object] = []
        _catalogues.add(self)

    def is_active(self, key: str) -> bool:
        """Whether a key is worth fetching; True without a list."""
        return self._active is None or key in self._active

    def start(self) -> None:
        """Start the updates on the running loop, if no other loop runs them."""
        if not self._interval or _is_alive(self._task):
            return
        with self._lock:
            if not _is_alive(self._task):
                loop = asyncio.get_running_loop()
                # In a context of its own: it is not the request's that starts it.
                self._task = loop.create_task(
                    self._run(), name="moe-catalogue", context=Context()
                )
                self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop the updates if the running event loop runs them.

        The list stays; the next ``start`` on any event loop continues.
        """
        with self._lock:
            task = self._task
            # A task can be cancelled on its own loop only.
            if task is None or task.get_loop() is not asyncio.get_running_loop():
                return
            self._task = None
        task.cancel()
        await asyncio.wait([task])

    def clear(self) -> None:
        """Drop the list until the next update."""
        self._active = None

    async def look(self) -> float:
        """Update once; return the seconds until the next update."""
        try:
            listed = await self._metadata((ACTIVE,))
        except Exception as error:
            return self._note_failure(error)
        active = frozenset(one.key for one in listed if one.status == ACTIVE)
        if self._failures:
            self._failures = 0
            logger.info("metadata_back active=%d", len(active))
        if not (active or self._is_empty):
            logger.warning(
                "metadata_empty hint=%r",
                "no experience is Active: is it the right workspace?",
            )
        self._is_empty = not active
        # A list without any is that of a wrong workspace: pages go on as without one.
        self._active = active or None
        missing = [key for key in self._keys if not self.is_active(key)]
        if not self._logged.issuperset(missing):
            await self._explain(missing)
        # Processes that start together do not list together for long.
        return self._interval * (0.9 + self._jitter() / 10)

    async def _run(self) -> None:
        """Update forever, or until another event loop takes over."""
        this = asyncio.current_task()
        # After a stop and a start elsewhere there is another one.
        while self._task is this:
            await self._sleep(await self.look())

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Drop the reference to the task, which holds its event loop."""
        with self._lock:
            if self._task is task:
                self._task = None

    async def _explain(self, missing: Sequence[str]) -> None:
        """Log the status of each key that is not Active, once per process."""
        try:
            listed = await self._metadata(())
        except Exception:
            # The next look explains.
            return
        statuses = {one.key: one.status for one in listed}
        for key in missing:
            # Other tasks have a turn between two keys.
            await asyncio.sleep(0)
            self._log_status(key, statuses)

    def compare(self, statuses: Mapping[str, str]) -> None:
        """Log the keys that are not Active in a given list; keep the own list."""
        for key in self._keys:
            self._log_status(key, statuses)

    def _log_status(self, key: str, statuses: Mapping[str, str]) -> None:
        if not statuses or key in self._logged or statuses.get(key) == ACTIVE:
            return
        self._logged.add(key)
        if status := statuses.get(key):
            logger.info(
                "experience_not_active key=%s status=%s",
                one_line(key),
                one_line(status),
            )
        else:
            logger.warning(
                "experience_unknown key=%s did_you_mean=%s hint=%r",
                one_line(key),
                _nearest(key, statuses) or "-",
                "unknown to this workspace, or not published",
            )

    def _note_failure(self, error: Exception) -> float:
        self._failures += 1
        if self._failures == 1:
            about = self._advise(error) if isinstance(error, MoEngageError) else ""
            logger.warning(
                "metadata_failed error=%s: every key is asked for until the list is "
                "there%s",
                *(type(error).__name__, about and f"; {about}"),
            )
        pause = backoff(
            self._failures,
            first=FIRST_RETRY,
            longest=max(self._interval, FIRST_RETRY),
            jitter=self._jitter(),
        )
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            pause += min(error.retry_after, LONGEST_WAIT)
        return pause

    def _forget_after_fork(self) -> None:
        # The task's event loop runs in the parent only. Dropping the task here would
        # log that it never ended.
        self._parents.append(self._task)
        self._task = None
        self._lock = threading.Lock()


def _is_alive(task: asyncio.Task[None] | None) -> bool:
    """Whether a task is running: its event loop may have ended."""
    return task is not None and not task.done() and task.get_loop().is_running()


def _nearest(key: str, known: Collection[str]) -> str | None:
    # The API's texts are escaped for log lines.
    fit = [name for name in known if name.isprintable() and len(name) <= MAX_KEY_LENGTH]
    # One comparison takes about ten microseconds.
    del fit[MAX_COMPARED:]
    return next(iter(get_close_matches(key, fit, n=1)), None)


_catalogues: WeakSet[Catalogue] = WeakSet()


def _forget_after_fork() -> None:
    for catalogue in list(_catalogues):
        catalogue._forget_after_fork()


register_fork_hooks(after_in_child=_forget_after_fork)
