"""The measured costs and limits of the parts of a site. Pure.

Measured on two cores of an AMD EPYC with CPython 3.11 and Redis 7; see
docs/explanation/benchmarks.md. A faster machine bears more.
"""

from __future__ import annotations

from hashlib import blake2b

from ..cache.memory import MemoryCache

SQLITE_APPENDS = 100_000
"""Events a second that one host stores in its SQLite outbox (`make bench`, P9)."""

RELAY_CPU_EVENTS = 68_000
"""Events that a relay delivers for a second of CPU time (`make bench`, P9)."""

SQLITE_EVENT_BYTES = 514
"""Bytes of a waiting event in the SQLite file."""

REDIS_EVENT_BYTES = 532
"""Bytes of a waiting event in a Redis."""

REDIS_EVENT = 31e-6
"""Seconds of Redis's CPU for one event: stored, claimed and deleted."""

REDIS_POLL = 80e-6
"""Seconds of Redis's CPU for a relay's look into an empty outbox."""

REDIS_BUDGET = 60e-6
"""Seconds of Redis's CPU for one fetch taken from the budget."""

REDIS_ENTRY_BYTES = 230
"""Bytes of a key's answer in the shared cache, beside the answer itself."""

_REDIS_LOOKUP = 4.5e-6, 1.4e-6
_REDIS_STORE = 8e-6, 9.4e-6
"""Seconds of Redis's CPU, and as much for each key."""


def redis_lookup(keys: float) -> tuple[float, float]:
    """Return the commands and the CPU seconds of a look into the shared cache."""
    fixed, each = _REDIS_LOOKUP
    return 1, fixed + each * keys


def redis_store(keys: float) -> tuple[float, float]:
    """Return the commands and the CPU seconds of a fetch that the hosts share.

    These are its lease (SET for each key, MGET), its answers (SET for each key,
    PEXPIRE), and the end of the lease (EVAL).
    """
    fixed, each = _REDIS_STORE
    return 2 * keys + 3, fixed + each * keys


def visitor_bytes(keys: int) -> float:
    """Return the memory of a visitor's answers in a process's cache.

    It is measured on a cache, with answers that many visitors have in common.
    """
    # Bounds that nothing reaches: an eviction would spoil the measurement.
    cache = MemoryCache(ttl=60, stale=0, max_entries=2**40, max_bytes=2**40)
    answers = {f"key-{number}": (60.0, b"") for number in range(keys)}
    visitors = 50
    for number in range(visitors):
        visitor = blake2b(b"%d" % number, digest_size=16).digest()
        cache.put_encoded(visitor, b"variant.", answers)
    return cache.size / visitors
