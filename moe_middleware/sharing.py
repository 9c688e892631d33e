"""Fetches under way, shared by all pages that wait for the same visitor's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from weakref import WeakKeyDictionary

from .models import Experience, Reason

Answers = list[Experience] | Reason
"""What a fetch brought, or why it brought nothing."""

Waiting = dict[str, "asyncio.Task[Answers]"]


class SharedFetches:
    """Starts a fetch for keys that nobody is fetching yet, and joins the others.

    A fetch is nobody's own: a page that is cancelled, or whose time is up, leaves it
    going for the rest and for the cache.
    """

    def __init__(self) -> None:
        self._under_way: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[bytes, Waiting]
        ] = WeakKeyDictionary()

    def start(
        self,
        visitor: bytes,
        keys: Iterable[str],
        fetch: Callable[[list[str]], Awaitable[Answers]],
    ) -> Waiting:
        """Return the fetch that will answer each key, after starting what is missing.

        Args:
            visitor: The cache's name for the visitor.
            keys: What is wanted.
            fetch: Fetches keys; it must not raise.
        """
        loop = asyncio.get_running_loop()
        visitors = self._under_way.setdefault(loop, {})
        waiting = visitors.setdefault(visitor, {})
        wanted = list(keys)
        if missing := [key for key in wanted if key not in waiting]:
            task = asyncio.ensure_future(fetch(missing))
            waiting.update(dict.fromkeys(missing, task))
            task.add_done_callback(lambda _: _end(visitors, visitor, missing))
        return {key: waiting[key] for key in wanted}

    async def wait(
        self, waiting: Waiting, keys: Collection[str], *, timeout: float
    ) -> list[Experience]:
        """Wait for some keys' answers; what does not come in time is a fallback.

        Args:
            waiting: What ``start`` returned.
            keys: Which of its keys.
            timeout: In seconds.
        """
        await asyncio.wait({waiting[key] for key in keys}, timeout=timeout)
        return [_answer(waiting[key], key) for key in keys]


def _end(visitors: dict[bytes, Waiting], visitor: bytes, keys: Iterable[str]) -> None:
    waiting = visitors[visitor]
    for key in keys:
        del waiting[key]
    if not waiting:
        del visitors[visitor]


def _answer(task: asyncio.Task[Answers], key: str) -> Experience:
    if not task.done():
        return Experience(key=key, reason=Reason.TIMEOUT)
    if task.cancelled():
        return Experience(key=key, reason=Reason.ERROR)
    match task.result():
        case Reason() as reason:
            return Experience(key=key, reason=reason)
        case found:
            return next(one for one in found if one.key == key)
