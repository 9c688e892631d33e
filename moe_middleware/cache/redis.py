"""The cache that processes and hosts share, in a Redis or Valkey."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ..concurrency.fork_hooks import begin_in_children
from ..models.observers import Observer
from ..network.redis import Command
from .guarded_redis import GuardedRedis
from .leases import Entry, Found, Lease

FORMAT = 1
"""The first byte of every value; a value of another version counts as a miss."""

_HEAD = struct.Struct(">B8sd")  # format, generation, fresh until (unix seconds)

FIRST_GENERATION = bytes(8)
"""The generation of visitors that were never forgotten."""

FORGOTTEN_FOR = 60.0
"""How much longer than any older answer a ``forget`` is kept, in seconds: an answer
that was being fetched at the time is stored later."""

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.01
"""Seconds between two looks of a follower; each pause is half as long again."""

MAX_PENDING = 10_000
"""Visitors at most whose ``forget`` has not reached Redis yet."""

_RELEASE = """
for _, name in ipairs(KEYS) do
  if redis.call('get', name) == ARGV[1] then redis.call('del', name) end
end
"""


class RedisCache:
    """A shared cache in a Redis that may be slow, full, empty, foreign, or gone.

    No method raises, and none but ``warm`` and ``follow`` takes longer than the
    timeout. While Redis cannot be asked, the cache counts as empty, and every process
    fetches on its own.

    Every answer is a string with its own expiry: nothing grows without bound, and no
    sweep is needed. Every call is one round trip, as all of a visitor's keys have one
    slot of a cluster.

    Args:
        url: ``redis://`` or ``rediss://``, also ``redis+sentinel://`` and
            ``redis+cluster://``.
        workspace_id: Part of every key, so that workspaces can share a Redis.
        ttl: How long an answer is fresh, in seconds; above zero.
        stale: How much longer it is kept, in seconds.
        timeout: The time limit of one command, in seconds.
        clock: The time, in unix seconds; hosts should agree on it.
        stopwatch: A clock that never jumps, in seconds.
        observer: Receives the breaker's states as those of ``shared_cache``.

    Raises:
        SettingsError: The redis package is missing, or the address is invalid.
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
        self._prefix = f"moe:{workspace_id}:"
        self._ttl = ttl
        self._stale = stale
        self._clock = clock
        self._pending: dict[bytes, None] = {}
        self._redis = GuardedRedis(
            url,
            probe_key=f"{self._prefix}probe",
            timeout=timeout,
            stopwatch=stopwatch,
            observer=observer,
            recovered=self._forget_pending,
        )
        begin_in_children(self)

    def begin_in_child(self) -> None:
        self._pending = {}
        self._redis.begin()

    async def get(self, visitor: bytes, variant: bytes, keys: Iterable[str]) -> Found:
        """Return the answers for keys, fresh and stale."""
        if visitor in self._pending:
            return Found(generation=await self._forget(visitor))
        wanted = list(keys)
        names = [self._generation(visitor), *self._entries(visitor, variant, wanted)]
        answers = await self._redis.ask(names[0], ("MGET", *names))
        return Found() if answers is None else self._found(wanted, answers[0])

    async def lead(
        self,
        visitor: bytes,
        variant: bytes,
        keys: Collection[str],
        generation: bytes | None,
        *,
        for_seconds: float,
    ) -> Lease:
        """Take the right to fetch the keys that no process is fetching.

        Args:
            generation: As ``get`` returned it.
            for_seconds: When other processes may fetch the keys if ``finish`` is never
                called, in seconds.
        """
        wanted = list(keys)
        if generation is None:
            # Redis did not answer a moment ago: the page does not wait for it again.
            return Lease(keys=tuple(wanted))
        # A holder that is late must not end the lease of the next one.
        token = os.urandom(8)
        leases = self._leases(visitor, variant, wanted, generation)
        # The last holder stored its answer before it gave the lease up: it is found.
        names = [self._generation(visitor), *self._entries(visitor, variant, wanted)]

        px = _milliseconds(for_seconds)
        take = [("SET", lease, token, "NX", "PX", px) for lease in leases]
        answers = await self._redis.ask(names[0], *take, ("MGET", *names))
        if answers is None:
            # Redis may still grant it, too late; ``finish`` gives it back in any case.
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
        self, visitor: bytes, variant: bytes, lease: Lease, bodies: Mapping[str, bytes]
    ) -> None:
        """Store the answers and end the lease, in the background.

        If a lease ends without an answer, a follower fetches.
        """
        if lease.token is not None and (lease.taken or bodies):
            self._redis.in_background(
                self._redis.ask(
                    self._generation(visitor),
                    *self._end(visitor, variant, lease, bodies),
                )
            )

    def _end(
        self, visitor: bytes, variant: bytes, lease: Lease, bodies: Mapping[str, bytes]
    ) -> list[Command]:
        kept_for = self._ttl + self._stale
        head = _HEAD.pack(FORMAT, lease.generation, self._clock() + self._ttl)
        names = self._entries(visitor, variant, bodies)
        leases = self._leases(visitor, variant, lease.taken, lease.called)

        px = _milliseconds(kept_for)
        bodies_of_names = zip(names, bodies.values(), strict=True)
        end: list[Command] = [
            ("SET", name, head + body, "PX", px) for name, body in bodies_of_names
        ]
        # The generation must outlive its answers.
        outlive = _milliseconds(kept_for + FORGOTTEN_FOR)
        end.append(("PEXPIRE", self._generation(visitor), outlive))
        if leases:
            end.append(("EVAL", _RELEASE, len(leases), *leases, lease.token or b""))
        return end

    async def follow(
        self,
        visitor: bytes,
        variant: bytes,
        keys: Collection[str],
        generation: bytes,
        *,
        timeout: float,
    ) -> Found:
        """Wait for the answers that other processes fetch; return the fresh ones.

        The wait for a key ends with its lease, with an answer or without.

        Args:
            generation: ``Lease.called`` of the lease that has these ``others``.
            timeout: For all keys together, in seconds.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        pause = FIRST_PAUSE
        wanted = list(keys)
        names = [self._generation(visitor), *self._entries(visitor, variant, wanted)]
        # In the same round trip: whether each key is still being fetched.
        names += self._leases(visitor, variant, wanted, generation)
        while True:
            answers = await self._redis.ask(names[0], ("MGET", *names))
            if answers is None:
                return Found()
            [values] = answers
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
        """Drop all answers of a visitor, also those that are being fetched.

        Return whether the cache has done so; if not, it is retried later.
        """
        return await self._forget(visitor) is not None

    async def _forget(self, visitor: bytes) -> bytes | None:
        """Return the visitor's new generation; None if Redis does not have it yet."""
        # Answers of an older generation no longer count, whenever they are stored.
        kept_for = _milliseconds(self._ttl + self._stale + FORGOTTEN_FOR)
        name, generation = self._generation(visitor), os.urandom(8)
        stored = await self._redis.ask(name, ("SET", name, generation, "PX", kept_for))
        if stored is not None:
            self._pending.pop(visitor, None)
            return generation
        # Until Redis has it, this process at least asks for the visitor anew.
        if len(self._pending) < MAX_PENDING:
            self._pending[visitor] = None
        return None

    async def _forget_pending(self) -> None:
        for visitor in list(self._pending):
            if not await self.forget(visitor):
                break

    async def warm(self) -> None:
        """Connect before the first page; this may take longer than the timeout."""
        await self._redis.warm()

    async def settle(self) -> None:
        """Wait for the background work of the running event loop."""
        await self._redis.settle()

    async def aclose(self) -> None:
        """Settle, but not for long; close the connections of the running event loop."""
        await self._redis.aclose()

    def _generation(self, visitor: bytes) -> str:
        return f"{self._prefix}g:{{{_text(visitor)}}}"

    def _entries(
        self, visitor: bytes, variant: bytes, keys: Iterable[str]
    ) -> list[str]:
        prefix = f"{self._prefix}e:{{{_text(visitor)}}}:{_text(variant)}"
        return [f"{prefix}:{key}" for key in keys]

    def _leases(
        self, visitor: bytes, variant: bytes, keys: Iterable[str], generation: bytes
    ) -> list[str]:
        prefix = (
            f"{self._prefix}l:{{{_text(visitor)}}}:{_text(generation)}:{_text(variant)}"
        )
        return [f"{prefix}:{key}" for key in keys]

    def _found(self, keys: Sequence[str], values: Sequence[Any]) -> Found:
        """Read a generation and the keys' entries; ignore values of another format."""
        # A value of another program becomes a generation that no answer has.
        generation = (values[0] or b"")[:8].ljust(8, b"\0")
        now = self._clock()
        entries: dict[str, Entry] = {}
        for key, value in zip(keys, values[1:], strict=True):
            if value is None or len(value) < _HEAD.size:
                continue
            version, of_generation, fresh_until = _HEAD.unpack_from(value)
            # A clock that is ahead on another host must not prolong the freshness.
            fresh_for = min(fresh_until - now, self._ttl)
            is_ours = version == FORMAT and of_generation == generation
            if is_ours and fresh_for > -self._stale:
                entries[key] = (fresh_for, value[_HEAD.size :])
        return Found(entries, generation)


def _fresh(found: Found) -> dict[str, Entry]:
    return {key: entry for key, entry in found.entries.items() if entry[0] > 0}


def _text(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
