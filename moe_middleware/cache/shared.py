"""What a cache that hosts share promises, and one fetch for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Entry = tuple[float, bytes]
"""For how long an answer is fresh, in seconds, and its body.

A stale one has been so for the seconds below zero.
"""

Fetch = Callable[[tuple[str, ...]], Awaitable[Mapping[str, bytes]]]
"""Asks the API for keys; returns the bodies of those that it answered."""

WAIT_FACTOR = 2.0
"""How many leases long a follower's patience is: the leader may die, and its successor
wants time too."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a shared cache knows of some keys.

    Attributes:
        entries: The answers that are fresh or stale, by key.
        generation: Which ``forget`` they come after, to be handed on as it is; None
            where the cache could not be asked.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    generation: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to fetch some keys of a visitor, for a while, as the only one.

    Attributes:
        keys: Those that are the holder's to fetch.
        others: Those that somebody else is fetching.
        entries: Those that came in while the lease was asked for.
        token: What tells this lease from others; None where the cache could not be
            asked, and everybody fetches alone.
        taken: What is to be given back: the keys, and those that came in.
        called: The generation within the lease's name.
        generation: The generation of the answers that it brings.
    """

    keys: tuple[str, ...]
    others: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)
    token: bytes | None = None
    taken: tuple[str, ...] = ()
    called: bytes = b""
    generation: bytes = b""


class SharedCache(Protocol):
    """Answers by visitor, split and key, as the memory cache has them, for everybody.

    No method raises, and none takes longer than the cache's timeout: where the cache
    cannot be asked, nothing is known and everybody fetches alone.
    """

    async def get(self, visitor: bytes, split: bytes, keys: Iterable[str]) -> Found:
        """Return what is known of keys, stale answers too."""

    async def lead(
        self,
        visitor: bytes,
        split: bytes,
        keys: Collection[str],
        generation: bytes | None,
        *,
        for_seconds: float,
    ) -> Lease:
        """Take the right to fetch those keys that nobody is fetching.

        Args:
            generation: What ``get`` told.
            for_seconds: When others may fetch them if this process says nothing more.
        """

    def finish(
        self, visitor: bytes, split: bytes, lease: Lease, bodies: Mapping[str, bytes]
    ) -> None:
        """Keep what a lease's fetch brought and end it: in the background, at once.

        A lease that ends without an answer lets a follower try.
        """

    async def follow(
        self,
        visitor: bytes,
        split: bytes,
        keys: Collection[str],
        generation: bytes,
        *,
        timeout: float,
    ) -> Found:
        """Wait for the answers that others fetch; return the fresh ones.

        A key's wait is over when its lease is, with an answer or without.

        Args:
            generation: Of the lease that told of those others: its ``called``.
            timeout: For all of them, in seconds.
        """

    async def forget(self, visitor: bytes) -> bool:
        """Drop everything of a visitor, also what is being fetched right now.

        Return whether the cache knows that already; where not, it will be told.
        """

    async def warm(self) -> None:
        """Connect, before a page has to; this may take longer than the timeout."""

    async def settle(self) -> None:
        """Wait until the running event loop has nothing under way in the background."""

    async def aclose(self) -> None:
        """Settle, but not for long, and close the running event loop's connections."""


async def fetch_once(
    cache: SharedCache,
    visitor: bytes,
    split: bytes,
    keys: Iterable[str],
    generation: bytes | None,
    fetch: Fetch,
    *,
    for_seconds: float,
) -> dict[str, Entry]:
    """Return what others fetch meanwhile, and fetch what nobody does.

    Each key is fetched by one process at a time. Where that one's fetch fails or it
    dies, a follower takes its place; here no key is fetched twice. What ``fetch``
    brings is kept, and not returned: whoever gave it has seen it.

    Args:
        generation: What ``cache.get`` told, before.
        fetch: It must not raise; what it could not fetch is left out of its answer.
        for_seconds: The most that one ``fetch`` takes, in seconds.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + for_seconds * WAIT_FACTOR
    found: dict[str, Entry] = {}
    left = tuple(keys)
    while left and (for_followers := until - clock()) > 0:
        lease = await cache.lead(
            visitor, split, left, generation, for_seconds=for_seconds
        )
        found |= lease.entries
        left = lease.others
        if not left:
            await _fetch(cache, visitor, split, lease, fetch)
            break
        _, came = await asyncio.gather(
            _fetch(cache, visitor, split, lease, fetch),
            cache.follow(visitor, split, left, lease.called, timeout=for_followers),
        )
        found |= came.entries
        generation = came.generation
        left = tuple(key for key in left if key not in found)
    return found


async def _fetch(
    cache: SharedCache, visitor: bytes, split: bytes, lease: Lease, fetch: Fetch
) -> None:
    bodies: Mapping[str, bytes] = {}
    try:
        if lease.keys:
            bodies = await fetch(lease.keys)
    finally:
        cache.finish(visitor, split, lease, bodies)
