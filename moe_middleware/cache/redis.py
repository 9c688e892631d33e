"""The cache that processes and hosts share, in a Redis or Valkey."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from ..concurrency.event_loops import PerLoop
from ..concurrency.fork_hooks import register_fork_hooks
from ..models.observers import Observer
from ..models.reasons import Reason
from ..network.breaker import Breaker, State
from ..network.redis import RedisClients
from .shared import Entry, Found, Lease

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)
T = TypeVar("T")
Command = Callable[["Redis"], Awaitable[T]]

FORMAT = 1
"""The first byte of every value: what another version has written is a miss."""

_HEAD = struct.Struct(">B8sd")  # format, generation, fresh until (unix seconds)

FIRST_GENERATION = bytes(8)
"""Of visitors of whom nothing was ever forgotten."""

FORGOTTEN_FOR = 60.0
"""How much longer a ``forget`` is known than any answer from before it, in seconds:
one that was being fetched then comes later."""

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.01
"""Between two looks of a follower, in seconds; in between they grow by half."""

CONNECTIONS = 4
"""That one event loop opens at most: a TLS handshake costs it some milliseconds."""

PATIENCE = 10.0
"""How many timeouts long an answer is listened for that no page waits for any more. It
keeps the connection, and brings a new one about where that takes long."""

FAILURES_IN_A_ROW = 5
"""After which nothing is asked for a while, however good the time before was."""

SILENT_FOR = 1.0
"""How long nothing is asked after them, or after a refusal as of a full or read-only
server, in seconds; then it grows as the breaker's own pauses do."""

LOG_EVERY = 60.0
"""A server that comes and goes is logged once in so many seconds."""

LATE_TURNS = 3
"""Turns of the event loop that an answer still has when the time is up: the loop may
have been busy elsewhere, while the answer was there."""

MAX_UNTOLD = 10_000
"""Visitors to be forgotten of whom Redis does not know yet."""

_RELEASE = """
for _, name in ipairs(KEYS) do
  if redis.call('get', name) == ARGV[1] then redis.call('del', name) end
end
"""


class RedisCache:
    """A shared cache in a Redis that may be slow, full, empty, foreign, or gone.

    Every answer is a string with an expiry of its own, so nothing grows and nothing
    sweeps. A ``forget`` is a new generation of the visitor, which all older answers
    do not have, and which those do not get that are under way. All that is asked for
    at once is one round trip.

    While Redis fails, a breaker sees to it that nothing waits for it; a probe in the
    background finds out when it is back.

    Args:
        url: ``redis://`` or ``rediss://``.
        workspace_id: Keeps workspaces apart that share a Redis.
        ttl: How long an answer is fresh, in seconds; above zero.
        stale: How much longer it is kept, in seconds.
        timeout: The most that one method but ``follow`` takes, in seconds.
        clock: The time, in unix seconds; hosts should agree on it.
        stopwatch: A clock that never jumps, in seconds.
        observer: Told how the breaker of ``shared_cache`` is.

    Raises:
        SettingsError: The redis package is missing, or the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        workspace_id: str,
        ttl: float,
        stale: float,
        timeout: float = 0.05,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        self._clients = RedisClients(
            url,
            where="cache.redis",
            timeout=PATIENCE * timeout,
            max_connections=CONNECTIONS,
        )
        self._prefix = f"moe:{workspace_id}:"
        self._ttl = ttl
        self._stale = stale
        self._timeout = timeout
        self._clock = clock
        self._stopwatch = stopwatch
        self._observer = observer or Observer()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._breaker = Breaker(changed=self._breaker_changed)
        self._background: PerLoop[set[asyncio.Future[Any]]] = PerLoop(set)
        self._probing: asyncio.Future[None] | None = None
        self._untold: dict[bytes, None] = {}
        self._failure = ""
        self._failures = 0
        self._answered_at = self._stopwatch()
        self._is_down = False
        self._logged_at = -LOG_EVERY

    async def get(self, visitor: bytes, split: bytes, keys: Iterable[str]) -> Found:
        if visitor in self._untold:
            return Found(generation=await self._forget(visitor))
        wanted = list(keys)
        names = [self._generation(visitor), *self._entries(visitor, split, wanted)]
        values = await self._ask(lambda redis: redis.mget(names))
        return Found() if values is None else self._found(wanted, values)

    async def lead(
        self,
        visitor: bytes,
        split: bytes,
        keys: Collection[str],
        generation: bytes | None,
        *,
        for_seconds: float,
    ) -> Lease:
        wanted = list(keys)
        if generation is None:
            return Lease(keys=tuple(wanted))
        token = os.urandom(8)
        leases = self._leases(visitor, split, wanted, generation)
        # Who led before has kept its answer before it gave the lease up, so it is seen.
        names = [self._generation(visitor), *self._entries(visitor, split, wanted)]

        async def take(redis: Redis) -> list[Any]:
            pipeline = redis.pipeline(transaction=False)
            for name in leases:
                pipeline.set(name, token, nx=True, px=_milliseconds(for_seconds))
            pipeline.mget(names)
            answers: list[Any] = await pipeline.execute()
            return answers

        answers = await self._ask(take)
        if answers is None:
            # It may be taken all the same, too late: then it is given back like others.
            return Lease(
                keys=tuple(wanted),
                token=token,
                taken=tuple(wanted),
                called=generation,
                generation=generation,
            )
        found = self._found(wanted, answers[-1])
        entries = _fresh(found)
        taken = [key for key, was_set in zip(wanted, answers, strict=False) if was_set]
        missing = [key for key in wanted if key not in entries]
        return Lease(
            keys=tuple(key for key in missing if key in taken),
            others=tuple(key for key in missing if key not in taken),
            entries=entries,
            token=token,
            taken=tuple(taken),
            called=generation,
            generation=found.generation or FIRST_GENERATION,
        )

    def finish(
        self, visitor: bytes, split: bytes, lease: Lease, bodies: Mapping[str, bytes]
    ) -> None:
        if lease.token is not None and (lease.taken or bodies):
            self._later(self._ask(self._end(visitor, split, lease, bodies)))

    def _end(
        self, visitor: bytes, split: bytes, lease: Lease, bodies: Mapping[str, bytes]
    ) -> Command[list[Any]]:
        kept_for = self._ttl + self._stale
        head = _HEAD.pack(FORMAT, lease.generation, self._clock() + self._ttl)
        names = self._entries(visitor, split, bodies)
        leases = self._leases(visitor, split, lease.taken, lease.called)

        async def end(redis: Redis) -> list[Any]:
            pipeline = redis.pipeline(transaction=False)
            for name, body in zip(names, bodies.values(), strict=True):
                pipeline.set(name, head + body, px=_milliseconds(kept_for))
            # It must outlive the answers that are of it.
            pipeline.pexpire(
                self._generation(visitor), _milliseconds(kept_for + FORGOTTEN_FOR)
            )
            if leases:
                pipeline.eval(_RELEASE, len(leases), *leases, lease.token or b"")
            answers: list[Any] = await pipeline.execute()
            return answers

        return end

    async def follow(
        self,
        visitor: bytes,
        split: bytes,
        keys: Collection[str],
        generation: bytes,
        *,
        timeout: float,
    ) -> Found:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        pause = FIRST_PAUSE
        wanted = list(keys)
        names = [self._generation(visitor), *self._entries(visitor, split, wanted)]
        names += self._leases(visitor, split, wanted, generation)
        while True:
            values = await self._ask(lambda redis: redis.mget(names))
            if values is None:
                return Found()
            found = self._found(wanted, values[: 1 + len(wanted)])
            entries = _fresh(found)
            held = zip(wanted, values[1 + len(wanted) :], strict=True)
            awaited = [key for key, lease in held if lease and key not in entries]
            left = until - loop.time()
            if not awaited or left <= 0:
                return Found(entries, found.generation)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def forget(self, visitor: bytes) -> bool:
        return await self._forget(visitor) is not None

    async def _forget(self, visitor: bytes) -> bytes | None:
        """Return the visitor's new generation; None where Redis is yet to be told."""
        kept_for = _milliseconds(self._ttl + self._stale + FORGOTTEN_FOR)
        name, generation = self._generation(visitor), os.urandom(8)
        told = await self._ask(lambda redis: redis.set(name, generation, px=kept_for))
        if told is not None:
            self._untold.pop(visitor, None)
            return generation
        if len(self._untold) < MAX_UNTOLD:
            self._untold[visitor] = None
        return None

    async def warm(self) -> None:
        client = self._clients.current()
        pings = [self._later(client.ping()) for _ in range(CONNECTIONS)]
        await asyncio.wait(pings)
        failed = [one.exception() for one in pings if not one.cancelled()]
        if self._breaker.state is State.CLOSED and failed and all(failed):
            # Said at the start, and no page waits to find it out.
            self._failure = str(_no_answer(next(filter(None, failed))))
            self._breaker.pause(self._stopwatch(), SILENT_FOR, Reason.UNREACHABLE)

    async def settle(self) -> None:
        while tasks := self._under_way():
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        if tasks := self._under_way():
            await asyncio.wait(tasks, timeout=PATIENCE * self._timeout)
        given_up = self._under_way()
        for task in given_up:
            task.cancel()
        if given_up:
            await asyncio.wait(given_up)
        await self._clients.aclose()

    def _under_way(self) -> list[asyncio.Future[Any]]:
        return list(self._background.get() or ())

    def _generation(self, visitor: bytes) -> str:
        return f"{self._prefix}g:{_text(visitor)}"

    def _entries(self, visitor: bytes, split: bytes, keys: Iterable[str]) -> list[str]:
        whose = f"{self._prefix}e:{_text(visitor)}:{_text(split)}"
        return [f"{whose}:{key}" for key in keys]

    def _leases(
        self, visitor: bytes, split: bytes, keys: Iterable[str], generation: bytes
    ) -> list[str]:
        whose = f"{self._prefix}l:{_text(visitor)}:{_text(generation)}:{_text(split)}"
        return [f"{whose}:{key}" for key in keys]

    def _found(self, keys: Sequence[str], values: Sequence[Any]) -> Found:
        """Read a generation and the keys' entries; what is not ours is not there."""
        generation = (values[0] or b"")[:8].ljust(8, b"\0")
        now = self._clock()
        entries: dict[str, Entry] = {}
        for key, value in zip(keys, values[1:], strict=True):
            if value is None or len(value) < _HEAD.size:
                continue
            version, of_generation, fresh_until = _HEAD.unpack_from(value)
            # A host whose clock is ahead makes nothing last longer.
            fresh_for = min(fresh_until - now, self._ttl)
            is_ours = version == FORMAT and of_generation == generation
            if is_ours and fresh_for > -self._stale:
                entries[key] = (fresh_for, value[_HEAD.size :])
        return Found(entries, generation)

    async def _ask(self, command: Command[T]) -> T | None:
        """Return what Redis answers; None where it does not, in time, or may not."""
        breaker = self._breaker
        if self._probing is not None and self._probing.get_loop().is_closed():
            self._probe_ended(self._probing)
        if not breaker.allows(self._stopwatch()):
            return None
        if breaker.state is State.PROBING:
            # No page waits for it.
            self._probing = self._later(self._probe())
            self._probing.add_done_callback(self._probe_ended)
            return None
        try:
            answer = await self._try(command, self._timeout)
        except _NoAnswer as failure:
            self._note(failure)
            return None
        self._note(None)
        return answer

    def _note(self, failure: _NoAnswer | None) -> None:
        breaker, now = self._breaker, self._stopwatch()
        if breaker.state is not State.CLOSED:
            return  # only the probe's outcome counts
        if failure is None:
            self._failures, self._answered_at = 0, now
            breaker.succeeded(now)
            return
        self._failure = str(failure)
        self._failures += 1
        # Many that fail at one moment, the others being answered, met a busy loop.
        is_silent = now >= self._answered_at + self._timeout
        in_a_row = self._failures >= FAILURES_IN_A_ROW and is_silent
        if failure.is_refusal or in_a_row:
            breaker.pause(now, SILENT_FOR, Reason.UNREACHABLE)
        else:
            breaker.failed(now)

    async def _probe(self) -> None:
        """Find out whether Redis is back, quick, and takes what is written."""
        breaker, name = self._breaker, f"{self._prefix}probe"
        try:
            await self._try(lambda redis: redis.ping(), PATIENCE * self._timeout)
            await self._try(lambda redis: redis.set(name, b"", px=1000), self._timeout)
        except _NoAnswer as failure:
            self._failure = str(failure)
            breaker.failed(self._stopwatch())
            return
        self._failures, self._answered_at = 0, self._stopwatch()
        breaker.succeeded(self._stopwatch())
        for visitor in list(self._untold):
            if not await self.forget(visitor):
                break

    def _probe_ended(self, probe: asyncio.Future[None]) -> None:
        if self._probing is probe:
            self._probing = None
            # It may have ended before it began, with its event loop.
            self._breaker.abandoned()

    async def _try(self, command: Command[T], timeout: float) -> T:
        """Return what Redis answers, or raise ``_NoAnswer`` when the time is up."""
        task = self._later(command(self._clients.current()))
        await asyncio.wait((task,), timeout=timeout)
        for _ in range(LATE_TURNS):
            if not task.done():
                await asyncio.sleep(0)
        if not task.done() or task.cancelled():
            raise _NoAnswer(f"no answer within {timeout:g} seconds")
        if (error := task.exception()) is not None:
            raise _no_answer(error) from None
        return task.result()

    def _later(self, work: Awaitable[T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(work)
        background = self._background.current()
        background.add(task)

        def over(task: asyncio.Future[Any]) -> None:
            background.discard(task)
            if not task.cancelled():
                # The loop would tell of an error that nobody waits for any more.
                task.exception()

        task.add_done_callback(over)
        return task

    def _breaker_changed(self, state: State) -> None:
        """Log when Redis fails and when it is back, and not each time of a flutter."""
        self._observer.breaker_changed("shared_cache", state)
        now, shown = self._stopwatch(), self._clients.shown
        if state is State.OPEN and not self._is_down:
            if now >= self._logged_at + LOG_EVERY:
                self._is_down, self._logged_at = True, now
                logger.warning(
                    "shared_cache_down redis=%s error=%s: every process goes on with "
                    "its own cache until it answers: is it running, and is the "
                    "address in cache.redis right?",
                    *(shown, self._failure.rstrip(".")),
                )
        elif state is State.CLOSED and self._is_down:
            self._is_down = False
            logger.warning("shared_cache_back redis=%s", shown)


class _NoAnswer(Exception):
    """Redis did not answer in time, or in a way that is no use.

    Attributes:
        is_refusal: Whether it understood, and said no.
    """

    def __init__(self, why: str, *, is_refusal: bool = False) -> None:
        super().__init__(why)
        self.is_refusal = is_refusal


def _no_answer(error: BaseException) -> _NoAnswer:
    from redis.exceptions import ConnectionError, ResponseError

    name = type(error).__name__
    if type(error) is ConnectionError:
        # Others quote the command, and with it a visitor's answers.
        return _NoAnswer(f"{name}: {error}")
    return _NoAnswer(name, is_refusal=isinstance(error, ResponseError))


def _fresh(found: Found) -> dict[str, Entry]:
    return {key: entry for key, entry in found.entries.items() if entry[0] > 0}


def _text(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


_all: WeakSet[RedisCache] = WeakSet()


def _begin_after_fork() -> None:
    for cache in list(_all):
        # Its probe, if there is one, is the parent's.
        cache._begin()


register_fork_hooks(after_in_child=_begin_after_fork)
