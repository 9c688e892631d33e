"""The bodies that many visitors have in common, kept once."""

from __future__ import annotations

from cachetools import LRUCache

from .memory_records import Body

MAX_RECURRING = 4096
"""Variations times locales that are worth it; further bodies are each visitor's own."""

REMEMBERED = 1024
"""Bodies seen last, among which a second sighting is noticed."""

WORTH_IT = 32
"""Shorter ones cost less than their number does, in bytes."""

OVERHEAD = 400
"""A recurring body's places in three dicts, in bytes."""


class RecurringBodies:
    """Counts who has a body. Of most variations every visitor gets the same bytes.

    A body becomes a recurring one when it is seen for the second time within a short
    while, and is forgotten when the last visitor who had it is.
    """

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}
        self._holders: dict[int, int] = {}
        self._numbers: dict[bytes, int] = {}
        self._free: list[int] = []
        self._seen: LRUCache[int, None] = LRUCache(REMEMBERED)
        self._size = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def __getitem__(self, number: int) -> bytes:
        return self._bodies[number]

    @property
    def size(self) -> int:
        """The memory that they take, as an estimate, in bytes."""
        return self._size

    def take(self, body: Body) -> Body:
        """Return what a visitor's record keeps: a recurring body's number, or itself.

        Every number that is returned has to be given up once.
        """
        number = body if isinstance(body, int) else self._number(body)
        if number is None:
            return body
        self._holders[number] += 1
        return number

    def give_up(self, number: int) -> None:
        """Note that a record which had the number is gone."""
        self._holders[number] -= 1
        if not self._holders[number]:
            body = self._bodies.pop(number)
            del self._numbers[body], self._holders[number]
            self._free.append(number)
            self._size -= len(body) + OVERHEAD

    def _number(self, body: bytes) -> int | None:
        number = self._numbers.get(body)
        if number is not None or len(body) < WORTH_IT:
            return number
        seen = hash(body)
        if seen not in self._seen or len(self) == MAX_RECURRING:
            self._seen[seen] = None
            return None
        del self._seen[seen]
        number = self._free.pop() if self._free else len(self)
        self._bodies[number], self._holders[number] = body, 0
        self._numbers[body] = number
        self._size += len(body) + OVERHEAD
        return number
