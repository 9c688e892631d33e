"""The primary servers of a Redis, and their slots. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...settings.redis_addresses import RedisAddress

SLOTS = 16_384

Place = tuple[str, int]
"""A server's host and port."""


class Topology:
    """The places of a Redis's primaries.

    Args:
        address: The address.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._seeds = address.hosts
        self._is_single = address.kind == "single"
        self._is_cluster = address.kind == "cluster"
        self._turn = 0
        known = self._seeds[0] if self._is_single else None
        # Without a cluster there is one slot, of all keys.
        self._slots = [known] * (SLOTS if self._is_cluster else 1)

    def place_of(self, slot: int) -> Place | None:
        """Return the place of a slot's primary; None if it is unknown."""
        return self._slots[slot]

    def places(self) -> set[Place]:
        """Return the places of all known primaries."""
        return {place for place in set(self._slots) if place is not None}

    def doubt(self, place: Place) -> None:
        """Forget that a server is a primary, unless no other one can be."""
        if not self._is_single:
            self._slots = [None if known == place else known for known in self._slots]

    def to_ask(self) -> list[Place]:
        """Return the servers for a lookup, each time with another one first."""
        self._turn += 1
        known = sorted(self.places()) if self._is_cluster else []
        others = [seed for seed in self._seeds if seed not in known]
        # Servers in use come first: those in the settings may be gone for long.
        return _turned(known, self._turn) + _turned(others, self._turn - 1)

    def is_at(self, slot: int, place: Place) -> None:
        """Note where a slot is."""
        self._slots[slot] = place

    def learn(self, ranges: Iterable[Sequence[Any]], source: Place) -> None:
        """Note the answer to CLUSTER SLOTS; a server without a host is the sender."""
        slots: list[Place | None] = [None] * SLOTS
        for start, end, primary, *_ in ranges:
            place = place_from(primary[0], primary[1], source)
            slots[start : end + 1] = [place] * (end - start + 1)
        self._slots = slots


def _turned(places: list[Place], turn: int) -> list[Place]:
    first = turn % len(places) if places else 0
    return places[first:] + places[:first]


def place_from(host: bytes | str | None, port: int | str, source: Place) -> Place:
    """Return a place from a server's answer, which may omit its own host."""
    text = host.decode() if isinstance(host, bytes) else host
    return (text if text and text != "?" else source[0]), int(port)
