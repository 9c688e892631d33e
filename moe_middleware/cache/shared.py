"""The contract of a cache that hosts share, and how they share one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Entry = tuple[float, bytes]
"""How long an answer is fresh, in seconds (negative if stale), and its body."""

Fetch = Callable[[tuple[str, ...]], Awaitable[Mapping[str, bytes]]]
"""Fetches keys from the API; returns the encoded answers by key."""

WAIT_FACTOR = 2.0
"""A follower waits for this many leases: the leader may die, and its successor needs
time too."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answers that a shared cache has for some keys.

    Attributes:
        entries: The fresh and stale answers, by key.
        generation: The visitor's generation, to be passed on as it is; None if the
            cache could not be asked.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    generation: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The exclusive right to fetch some keys of a visitor, for a limited time.

    Attributes:
        keys: The keys that the holder fetches.
        others: The keys that another process is fetching.
        entries: The answers that arrived while the lease was requested.
        token: Identifies this lease; None if the cache could not be asked, so that
            every process fetches on its own.
        taken: The keys to give back: ``keys``, and those of ``entries``.
        called: The generation in the name of the lease.
        generation: The generation of the answers that it will store.
    """

    keys: tuple[str, ...]
    others: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)
    token: bytes | None = None
    taken: tuple[str, ...] = ()
    called: bytes = b""
    generation: bytes = b""


class SharedCache(Protocol):
    """Answers by visitor, variant and key, shared by processes and hosts.

    No method raises, and none but ``follow`` takes longer than the cache's timeout. A
    cache that cannot be asked counts as empty, and every process fetches on its own.
    """

    async def get(self, visitor: bytes, variant: bytes, keys: Iterable[str]) -> Found:
        """Return the answers for keys, fresh and stale."""

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

    def finish(
        self, visitor: bytes, variant: bytes, lease: Lease, bodies: Mapping[str, bytes]
    ) -> None:
        """Store the answers and end the lease, in the background.

        If a lease ends without an answer, a follower fetches.
        """

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

    async def forget(self, visitor: bytes) -> bool:
        """Drop all answers of a visitor, also those that are being fetched.

        Return whether the cache has done so; if not, it is retried later.
        """

    async def warm(self) -> None:
        """Connect before the first page; this may take longer than the timeout."""

    async def settle(self) -> None:
        """Wait for the background work of the running event loop."""

    async def aclose(self) -> None:
        """Settle, but not for long; close the connections of the running event loop."""


async def fetch_once(
    cache: SharedCache,
    visitor: bytes,
    variant: bytes,
    keys: Iterable[str],
    generation: bytes | None,
    fetch: Fetch,
    *,
    for_seconds: float,
) -> dict[str, Entry]:
    """Fetch the keys that no other process is fetching; return the others' answers.

    One process at a time fetches a key. If its fetch fails or it dies, a follower
    fetches instead; one call of this function fetches no key twice. The answers of
    ``fetch`` are stored, not returned: the caller has them.

    Args:
        generation: As ``cache.get`` returned it.
        fetch: Must not raise; it leaves out the keys that it could not fetch.
        for_seconds: The most time that one ``fetch`` takes, in seconds.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + for_seconds * WAIT_FACTOR
    found: dict[str, Entry] = {}
    left = tuple(keys)
    while left and (for_followers := until - clock()) > 0:
        lease = await cache.lead(
            visitor, variant, left, generation, for_seconds=for_seconds
        )
        found |= lease.entries
        left = lease.others
        if not left:
            await _fetch(cache, visitor, variant, lease, fetch)
            break
        _, came = await asyncio.gather(
            _fetch(cache, visitor, variant, lease, fetch),
            cache.follow(visitor, variant, left, lease.called, timeout=for_followers),
        )
        found |= came.entries
        generation = came.generation
        left = tuple(key for key in left if key not in found)
    return found


async def _fetch(
    cache: SharedCache, visitor: bytes, variant: bytes, lease: Lease, fetch: Fetch
) -> None:
    bodies: Mapping[str, bytes] = {}
    try:
        if lease.keys:
            bodies = await fetch(lease.keys)
    finally:
        cache.finish(visitor, variant, lease, bodies)
