"""Shares running fetches among all pages that wait for the same visitor's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from ..concurrency.event_loops import PerLoop
from ..models.experience import Experience
from ..models.reasons import Reason

Answers = list[Experience] | Reason
"""The answers of a fetch, or the reason why it failed."""

Waiting = dict[str, "asyncio.Task[Answers]"]

_UnderWay = dict[tuple[bytes, str], "asyncio.Task[Answers]"]
"""By variant and experience key."""


class SharedFetches:
    """Starts a fetch for keys without a running one, and joins the others.

    Args:
        joined: Receives each running fetch that a further page waits for.
    """

    def __init__(
        self, joined: Callable[[asyncio.Task[Answers]], None] | None = None
    ) -> None:
        self._joined = joined
        self._loops: PerLoop[dict[bytes, _UnderWay]] = PerLoop(dict)

    def start(
        self,
        visitor: bytes,
        variant: bytes,
        keys: Iterable[str],
        fetch: Callable[[list[str]], Awaitable[Answers]],
    ) -> Waiting:
        """Return the fetch of each key, after starting missing ones.

        Args:
            visitor: See ``cache.visitor_key``.
            variant: See ``cache.variant_key``.
            fetch: It must not raise.
        """
        visitors = self._loops.current()
        under_way = visitors.setdefault(visitor, {})
        wanted = {key: (variant, key) for key in keys}
        missing = [
            key
            for key, name in wanted.items()
            if name not in under_way or under_way[name].done()
        ]
        if self._joined is not None and len(missing) < len(wanted):
            for task in {
                under_way[name] for key, name in wanted.items() if key not in missing
            }:
                self._joined(task)
        if missing:
            # It belongs to no page: if one is cancelled or its time is up, the fetch
            # goes on for the others and the cache.
            task = asyncio.ensure_future(fetch(missing))
            names = [wanted[key] for key in missing]
            under_way.update(dict.fromkeys(names, task))
            task.add_done_callback(
                lambda task: _end(visitors, visitor, under_way, task, names)
            )
        return {key: under_way[name] for key, name in wanted.items()}

    def forget(self, visitor: bytes) -> None:
        """Let no further page join the running fetches of a visitor.

        Pages that are waiting still get their answers; ``holds`` becomes False.
        """
        for visitors in self._loops.values():
            # Pages that wait have the task itself.
            visitors.pop(visitor, None)

    async def aclose(self) -> None:
        """Cancel the fetches of the running event loop."""
        visitors = self._loops.pop() or {}
        tasks = {task for one in visitors.values() for task in one.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def holds(self, visitor: bytes) -> bool:
        """Whether the running task's fetch for a visitor has not been forgotten."""
        under_way = (self._loops.get() or {}).get(visitor, {})
        return asyncio.current_task() in under_way.values()


@dataclass(frozen=True, slots=True)
class PendingAnswers:
    """The answers so far, and the fetches of the others.

    Attributes:
        found: The answers that were there at once.
        needed: The keys without an answer.
        waiting: The fetches that will bring them.
    """

    found: list[Experience]
    needed: Sequence[str] = ()
    waiting: Waiting = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether all fetches have ended."""
        return all(self.waiting[key].done() for key in self.needed)

    @property
    def late(self) -> list[Experience]:
        """The answers of ``needed``; a missing one is a fallback."""
        return [_answer(self.waiting[key], key) for key in self.needed]

    async def wait(self, timeout: float) -> None:
        """Wait for the fetches, for ``timeout`` seconds at most."""
        tasks = {self.waiting[key] for key in self.needed}
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, timeout))


def _answer(task: asyncio.Task[Answers], key: str) -> Experience:
    if not task.done():
        return Experience(key=key, reason=Reason.TIMEOUT)
    if task.cancelled():
        return Experience(key=key, reason=Reason.ERROR)
    match task.result():
        case Reason() as reason:
            return Experience(key=key, reason=reason)
        case found:
            fallback = Experience(key=key, reason=Reason.BAD_ANSWER)
            shared = next((one for one in found if one.key == key), fallback)
            # A copy: each page may change what it gets.
            return replace(
                shared,
                payload=deepcopy(shared.payload),
                experience_context=deepcopy(shared.experience_context),
            )


def _end(
    visitors: dict[bytes, _UnderWay],
    visitor: bytes,
    under_way: _UnderWay,
    task: asyncio.Task[Answers],
    names: Iterable[tuple[bytes, str]],
) -> None:
    for name in names:
        # A refresh may have replaced it.
        if under_way.get(name) is task:
            del under_way[name]
    if not under_way and visitors.get(visitor) is under_way:
        del visitors[visitor]
