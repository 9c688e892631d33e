"""Which experiences are Active, by the workspace's own list, looked at now and then."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
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
"""Seconds. The pause doubles with every look that fails, up to the interval."""

MAX_KEY_LENGTH = 50
"""Characters; what is longer is no experience key."""

MAX_COMPARED = 500
"""Known keys that an unknown one is compared with; a workspace has 20 active."""

Metadata = Callable[[Sequence[str]], Awaitable[Sequence[ExperienceMetadata]]]


class Catalogue:
    """Knows which keys are worth asking for, and tells of those that never will be.

    It looks in the background, in one task however many event loops use it. While it
    knows nothing, every key counts as active: before its first look, when all looks
    fail, and when the list is empty, as that of a wrong workspace is. A look that fails
    changes nothing.

    Args:
        keys: The configured ones; those that are not Active are told of once.
        metadata: Lists what has one of some statuses, or everything for none of them,
            as ``MoEngageClient.metadata`` does.
        interval: The pause between two looks, in seconds; 0 never looks.
        advise: Says what to look at where a look failed.
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
        self._told: set[str] = set()
        self._failures = 0
        self._is_empty = False
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None
        self._parents: list[object] = []
        _catalogues.add(self)

    def is_active(self, key: str) -> bool:
        """Whether a key is worth asking for; True while nothing is known."""
        return self._active is None or key in self._active

    def start(self) -> None:
        """See to it that one event loop looks: the running one, if no other does."""
        if not self._interval or _is_alive(self._task):
            return
        with self._lock:
            if not _is_alive(self._task):
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(self._run(), name="moe-catalogue")
                self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End the looking where it is the running event loop that looks.

        What is known stays; the next ``start`` on any event loop goes on.
        """
        with self._lock:
            task = self._task
            if task is None or task.get_loop() is not asyncio.get_running_loop():
                return
            self._task = None
        task.cancel()
        await asyncio.wait([task])

    def clear(self) -> None:
        """Know nothing again, as at the start, until the next look."""
        self._active = None

    async def look(self) -> float:
        """Look once; return how long to wait until the next look, in seconds."""
        try:
            active = _with_status(await self._metadata((ACTIVE,)), ACTIVE)
        except Exception as error:
            return self._note_failure(error)
        if self._failures:
            self._failures = 0
            logger.info("metadata_back active=%d", len(active))
        self._note_emptiness(not active)
        self._active = active or None
        missing = [key for key in self._keys if not self.is_active(key)]
        if not self._told.issuperset(missing):
            await self._explain(missing)
        return self._interval * (0.9 + self._jitter() / 10)

    async def _run(self) -> None:
        """Look for ever, or until another event loop has taken over."""
        this = asyncio.current_task()
        while self._task is this:
            await self._sleep(await self.look())

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let go of the task, which holds its event loop."""
        with self._lock:
            if self._task is task:
                self._task = None

    async def _explain(self, missing: Sequence[str]) -> None:
        """Say of each key that is not Active what it is, once in a process."""
        try:
            listed = await self._metadata(())
        except Exception:
            # The next look explains.
            return
        statuses = {one.key: one.status for one in listed}
        for key in missing:
            # Others have a turn between two of them.
            await asyncio.sleep(0)
            self._say(key, statuses)

    def compare(self, statuses: Mapping[str, str]) -> None:
        """Say the same by a list that is at hand; which keys are Active stays open."""
        for key in self._keys:
            self._say(key, statuses)

    def _say(self, key: str, statuses: Mapping[str, str]) -> None:
        if not statuses or key in self._told or statuses.get(key) == ACTIVE:
            return
        self._told.add(key)
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

    def _note_emptiness(self, is_empty: bool) -> None:
        if is_empty and not self._is_empty:
            logger.warning(
                "metadata_empty hint=%r",
                "no experience is Active: is it the right workspace?",
            )
        self._is_empty = is_empty

    def _forget_after_fork(self) -> None:
        # The task's event loop runs in the parent only. Letting go of the task here
        # would complain that it never ended.
        self._parents.append(self._task)
        self._task = None
        self._lock = threading.Lock()


def _is_alive(task: asyncio.Task[None] | None) -> bool:
    """Whether a task goes on by itself: its event loop may have ended meanwhile."""
    return task is not None and not task.done() and task.get_loop().is_running()


def _with_status(listed: Iterable[ExperienceMetadata], status: str) -> frozenset[str]:
    return frozenset(one.key for one in listed if one.status == status)


def _nearest(key: str, known: Collection[str]) -> str | None:
    # What the API lists goes into a log line: nothing that could break it.
    fit = [name for name in known if name.isprintable() and len(name) <= MAX_KEY_LENGTH]
    # Comparing takes some ten microseconds each.
    del fit[MAX_COMPARED:]
    return next(iter(get_close_matches(key, fit, n=1)), None)


_catalogues: WeakSet[Catalogue] = WeakSet()


def _forget_after_fork() -> None:
    for catalogue in list(_catalogues):
        catalogue._forget_after_fork()


register_fork_hooks(after_in_child=_forget_after_fork)
