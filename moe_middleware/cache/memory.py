"""The cache in the process's own memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b

import orjson
from cachetools import LRUCache

from ..models import Experience, Identity, Reason, Source

Entry = tuple[float, bytes]
"""Fresh until (in the clock's seconds), and the experience as bytes.

Bytes cost a quarter of the parsed objects' memory and nothing at a garbage
collection; decoding one takes microseconds.
"""


class MemoryCache:
    """Experiences by visitor and key; the least recently seen visitors go first.

    Entries carry their deadlines, and an expired one is noticed when it is asked for:
    nothing ever sweeps.

    Args:
        ttl: How long an answer is fresh, in seconds.
        stale: How much longer it may be served while it is refreshed, in seconds.
        max_entries: How many answers are kept.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        *,
        ttl: float,
        stale: float,
        max_entries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._stale = stale
        self._clock = clock
        self._visitors: LRUCache[bytes, dict[str, Entry]] = LRUCache(
            max_entries, getsizeof=len
        )
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return int(self._visitors.currsize)

    def get(self, visitor: bytes, keys: Iterable[str]) -> list[Experience]:
        """Return those of the keys' experiences that are still fresh."""
        return self._get(visitor, keys, self._clock(), Source.CACHE, None)

    def get_stale(
        self, visitor: bytes, keys: Iterable[str], reason: Reason
    ) -> list[Experience]:
        """Return those that have expired but may still be served, and say why."""
        return self._get(
            visitor, keys, self._clock() - self._stale, Source.STALE, reason
        )

    def put(self, visitor: bytes, experiences: Iterable[Experience]) -> None:
        """Keep answers of the API, matches and no-matches alike."""
        fresh_until = self._clock() + self._ttl
        entries = {
            experience.key: (fresh_until, _dump(experience))
            for experience in experiences
        }
        with self._lock:
            known = self._visitors.get(visitor, {})
            # One whose answers are more than the whole cache may hold goes without.
            with suppress(ValueError):
                self._visitors[visitor] = known | entries

    def clear(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._visitors.clear()

    def _get(
        self,
        visitor: bytes,
        keys: Iterable[str],
        after: float,
        source: Source,
        reason: Reason | None,
    ) -> list[Experience]:
        with self._lock:
            known = self._visitors.get(visitor)
        if known is None:
            return []
        entries = [(key, known[key]) for key in keys if key in known]
        return [
            _load(key, body, source, reason)
            for key, (fresh_until, body) in entries
            if fresh_until > after
        ]


def visitor_key(identity: Identity, attributes: dict[str, str]) -> bytes:
    """Return the cache's name for a visitor: a digest, so that it holds no ids."""
    told = [
        identity.customer_id,
        identity.visitor_id,
        dict(identity.user_identifiers),
        attributes,
    ]
    packed = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    return blake2b(packed, digest_size=16).digest()


def _dump(experience: Experience) -> bytes:
    if not experience:
        return b""
    dumped = orjson.dumps([experience.payload, experience.experience_context])
    # The copy is without the encoder's spare room, of kilobytes.
    return bytes(memoryview(dumped))


def _load(key: str, body: bytes, source: Source, reason: Reason | None) -> Experience:
    if not body:
        return Experience(key=key, source=source, reason=reason or Reason.NO_MATCH)
    payload, context = orjson.loads(body)
    return Experience(
        key=key,
        payload=payload,
        experience_context=context,
        source=source,
        reason=reason,
    )
