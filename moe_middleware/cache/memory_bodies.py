"""Keeps the bodies that many visitors have in common only once."""

from __future__ import annotations

from cachetools import LRUCache

from .encoding import ParsedBody
from .memory_records import Body

MAX_RECURRING = 4096
"""Shared bodies at most (variations times locales); others are kept per visitor."""

REMEMBERED = 1024
"""The last bodies seen; one of them that comes again becomes shared."""

WORTH_IT = 32
"""Bytes below which a body costs less than its number."""

OVERHEAD = 400
"""Memory of a recurring body's entries in three dicts, in bytes."""


class RecurringBodies:
    """Counts the holders of each body: most variations have the same bytes for all.

    A body becomes recurring at its second sighting within a short time, and is dropped
    with its last holder.

    Attributes:
        bodies: The bodies by number.
        size: The estimated memory of all bodies, in bytes.
    """

    def __init__(self) -> None:
        self.bodies: dict[int, ParsedBody] = {}
        self._holders: dict[int, int] = {}
        self._numbers: dict[bytes, int] = {}
        self._free: list[int] = []
        self._seen: LRUCache[int, None] = LRUCache(REMEMBERED)
        self.size = 0

    def take(self, body: Body) -> Body:
        """Return what a record stores: a recurring body's number, else the body.

        Call ``give_up`` once for every number that is returned.
        """
        number = body if isinstance(body, int) else self._number(body)
        if number is None:
            return body
        self._holders[number] += 1
        return number

    def give_up(self, number: int) -> None:
        """Count one holder less; the last one takes the body with it."""
        self._holders[number] -= 1
        if not self._holders[number]:
            body = self.bodies.pop(number)
            del self._numbers[body], self._holders[number]
            self._free.append(number)
            self.size -= body.size + OVERHEAD

    def _number(self, body: bytes) -> int | None:
        number = self._numbers.get(body)
        if number is not None or len(body) < WORTH_IT:
            return number
        # Not the body itself: a thousand long ones would be held in vain.
        seen = hash(body)
        if seen not in self._seen or len(self.bodies) == MAX_RECURRING:
            self._seen[seen] = None
            return None
        del self._seen[seen]
        number = self._free.pop() if self._free else len(self.bodies)
        parsed = ParsedBody(body)
        self.bodies[number], self._holders[number] = parsed, 0
        self._numbers[parsed] = number
        self.size += parsed.size + OVERHEAD
        return number
