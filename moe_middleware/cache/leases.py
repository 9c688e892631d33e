"""The answers of a shared cache, and the right to fetch others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Entry = tuple[float, bytes]
"""How long an answer is fresh, in seconds (negative if stale), and its body."""


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
