"""The cache in the process's own memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..concurrency.fork_hooks import begin_in_children
from ..models.experience import Experience
from ..models.reasons import Reason, Source
from .encoding import decode, decode_all, encode
from .keys import experience_digest, variant_key, visitor_key, with_digests
from .memory_bodies import RecurringBodies
from .memory_records import (
    Answer,
    count_in,
    expiry_of,
    fresh_in,
    merged,
    pack,
    recurring_in,
    size_of,
)

__all__ = ["MemoryCache", "decode", "encode", "variant_key", "visitor_key"]

GROUP_SIZE = 128
"""Visitors per group on average, at most; dividing a group takes 0.2 ms."""

MAX_EVICTIONS = 256
"""Visitors that one ``put`` evicts at most, so that it takes less than a millisecond.

An answer that needs more room than that is not kept.
"""

MAX_EXPIRED = 8
"""Expired visitors that one ``put`` drops at most."""

VISITOR_OVERHEAD = 64 + 90
"""Memory of a visitor's digest and its entry in a dict, in bytes (measured)."""

LOOKS = 4096
"""The most look-ups that are remembered: a visitor's pages mostly want the same."""

MAX_LOOKED_AT = 1024
"""The most bytes of such a visitor's record: all look-ups then take 6 MB at most."""

_Look = tuple[bytes, float, bytes, tuple[str, ...], dict[str, bytes]]
"""A record, until when all of its answers are fresh, the variant, the keys, and their
bodies."""

Group = dict[bytes, bytes]
"""Records by visitor, the least recently used first."""


class MemoryCache:
    """Answers by visitor, variant and key, bounded by their number and by their bytes.

    Each visitor has one record of bytes, which takes no time in a garbage collection;
    a body that many visitors have in common is kept once. At a bound the least recently
    used visitors are evicted. Expired answers are ignored, and every ``put`` drops a
    few of them, so that no sweep is needed.

    Visitors are kept in small groups; when their number grows, one group at a time is
    divided: a single dict of a million visitors takes 25 ms when it grows. Eviction
    takes the least recently used visitor of a group.

    Threads may share it.

    Args:
        ttl: How long an answer is fresh, in seconds.
        stale: How much longer it may be served while it is refreshed, in seconds.
        max_entries: The most answers that are kept.
        max_bytes: The most memory that they may take, in bytes.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        *,
        ttl: float,
        stale: float,
        max_entries: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._stale = stale
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._empty()
        begin_in_children(self)

    def __len__(self) -> int:
        """Return the number of answers."""
        return self._answers

    @property
    def size(self) -> int:
        """The estimated memory of all answers, in bytes."""
        return self._bytes + self._recurring.size

    def get(
        self, visitor: bytes, variant: bytes, keys: Sequence[str]
    ) -> list[Experience]:
        """Return the experiences of the keys that have a fresh answer."""
        return decode_all(self.bodies(visitor, variant, keys), Source.CACHE, None)

    def get_stale(
        self, visitor: bytes, variant: bytes, keys: Sequence[str], reason: Reason
    ) -> list[Experience]:
        """Return the experiences whose answers may still be served, with a reason."""
        found = self.bodies(visitor, variant, keys, self._stale)
        return decode_all(found, Source.STALE, reason)

    def bodies(
        self, visitor: bytes, variant: bytes, keys: Sequence[str], since: float = 0.0
    ) -> Mapping[str, bytes]:
        """Return the encoded answers of keys that are fresh, by key.

        Other pages get the same mapping: it must not change.

        Args:
            since: Answers that expired at most so many seconds ago count as fresh.
        """
        after, wanted = self._clock() - since, tuple(keys)
        with self._lock:
            # The same as _group without its calls: every page runs this.
            groups, index = self._groups, (hash(visitor) >> 16) % (2 * self._round)
            group = groups[index if index < len(groups) else index - self._round]
            record = group.pop(visitor, None)
            if record is None:
                return {}
            # It is now the most recently used.
            group[visitor] = record
            place = hash(visitor) % LOOKS
            look = self._looks.get(place)
            # A record that changes is another object.
            if look is not None and look[0] is record and look[1] > after:
                _, _, of_variant, of_keys, found = look
                if of_variant == variant and of_keys == wanted:
                    return found
            digests, recurring = with_digests(wanted), self._recurring.bodies
            found, until = fresh_in(record, variant, digests, after, recurring)
            if len(found) == len(wanted) and len(record) <= MAX_LOOKED_AT:
                self._looks[place] = (record, until, variant, wanted, found)
            return found

    def put(
        self,
        visitor: bytes,
        variant: bytes,
        experiences: Iterable[Experience],
        *,
        fresh_for: float | None = None,
    ) -> None:
        """Keep answers of the API, matches and no-matches alike.

        An answer in the cache that stays fresh for longer is kept instead.

        Args:
            fresh_for: How long the answers are fresh, in seconds, at most the ttl;
                negative for stale ones. None means the ttl.
        """
        left = self._ttl if fresh_for is None else fresh_for
        bodies = {one.key: (left, encode(one)) for one in experiences}
        self.put_encoded(visitor, variant, bodies)

    def put_encoded(
        self, visitor: bytes, variant: bytes, bodies: Mapping[str, tuple[float, bytes]]
    ) -> None:
        """Keep encoded answers, as ``put`` does.

        Args:
            visitor: See ``visitor_key``.
            variant: See ``variant_key``.
            bodies: By experience key: how long the answer is fresh, in seconds
                (negative if stale), and the encoded answer.
        """
        now = self._clock()
        new = [
            (variant + experience_digest(key), now + min(left, self._ttl), body)
            for key, (left, body) in bodies.items()
        ]
        with self._lock:
            known = self._group(visitor).get(visitor)
            answers = merged(new, known, now - self._stale)
            # Too large an answer would evict hundreds of visitors, and then go itself.
            if answers and self._may_fit(answers):
                self._keep(visitor, answers)
            else:
                self._forget(visitor)
            self._drop_expired(now)
            self._evict(visitor)

    def forget(self, visitor: bytes) -> None:
        """Drop all answers of a visitor, in every variant."""
        with self._lock:
            self._forget(visitor)

    def clear(self) -> None:
        """Drop all answers; this takes time in proportion to their number."""
        with self._lock:
            self._empty()

    def begin_in_child(self) -> None:
        # A lock held at the fork belongs to a thread that exists in the parent alone.
        if self._lock.locked():
            self._lock = threading.Lock()
            self._empty()

    def _empty(self) -> None:
        self._groups: list[Group] = [{}]
        self._round = 1
        self._visitors = 0
        self._answers = 0
        self._bytes = 0
        self._recurring = RecurringBodies()
        self._looks: dict[int, _Look] = {}
        self._turn = 0

    def _group(self, visitor: bytes) -> Group:
        # The lowest bits already choose the place within the group's dict.
        return self._groups[self._index(hash(visitor) >> 16)]

    def _index(self, place: int) -> int:
        """Return the index of a place's group; an undivided group has two places."""
        index = place % (2 * self._round)
        return index if index < len(self._groups) else index - self._round

    def _keep(self, visitor: bytes, answers: Sequence[Answer]) -> None:
        """Replace a visitor's record by one of these answers."""
        take = self._recurring.take
        record = pack([(name, until, take(body)) for name, until, body in answers])
        # Only now, so that a recurring body in both records keeps a holder.
        self._forget(visitor)
        self._group(visitor)[visitor] = record
        self._account(record, 1)
        if self._visitors > GROUP_SIZE * len(self._groups):
            self._divide_a_group()

    def _forget(self, visitor: bytes) -> None:
        record = self._group(visitor).pop(visitor, None)
        if record is not None:
            self._give_up(visitor, record)

    def _account(self, record: bytes, sign: int) -> None:
        self._visitors += sign
        self._answers += sign * count_in(record)
        self._bytes += sign * (size_of(record) + VISITOR_OVERHEAD)

    def _give_up(self, visitor: bytes, record: bytes) -> None:
        """Subtract a record that was taken out of its group."""
        self._looks.pop(hash(visitor) % LOOKS, None)
        self._account(record, -1)
        for number in recurring_in(record):
            self._recurring.give_up(number)

    def _drop_oldest(self, group: Group) -> None:
        visitor = next(iter(group))
        self._give_up(visitor, group.pop(visitor))

    def _drop_expired(self, now: float) -> None:
        """Drop a few visitors of the next group whose answers can no longer be served.

        Visitors are in the order of their use, and the last answer of each is older
        than that: after the first visitor that is not expired there are hardly any.
        """
        group = self._groups[self._next_index()]
        for _ in range(MAX_EXPIRED):
            oldest = next(iter(group), None)
            if oldest is None or expiry_of(group[oldest]) + self._stale > now:
                break
            self._drop_oldest(group)

    def _evict(self, newest: bytes) -> None:
        """Make room for a visitor, in its own group or the next: the fuller of the two.

        This keeps the groups at one size and their oldest visitors at one age.
        """
        own = self._index(hash(newest) >> 16)
        for _ in range(MAX_EVICTIONS):
            if not self._full():
                return
            group = self._groups[max(own, self._next_index(), key=self._load)]
            if group:
                self._drop_oldest(group)
        if self._full():
            self._forget(newest)

    def _load(self, index: int) -> float:
        """Return the number of visitors per place of a group."""
        undivided = len(self._groups) - self._round <= index < self._round
        return len(self._groups[index]) / (2 if undivided else 1)

    def _next_index(self) -> int:
        self._turn += 1
        return self._index(self._turn)

    def _may_fit(self, answers: Sequence[Answer]) -> bool:
        """Whether a visitor's answers alone are within the bounds."""
        bodies = [body for _, _, body in answers if isinstance(body, bytes)]
        return (
            len(answers) <= self._max_entries
            and sum(map(len, bodies)) + VISITOR_OVERHEAD <= self._max_bytes
        )

    def _full(self) -> bool:
        return self._answers > self._max_entries or self.size > self._max_bytes

    def _divide_a_group(self) -> None:
        """Move the visitors of one group that belong to a new group."""
        groups = self._groups
        place = len(groups) - self._round
        moving = groups[place]
        # A dict keeps its size when keys leave it: both halves begin anew.
        groups[place] = {}
        groups.append({})
        for visitor, record in moving.items():
            self._group(visitor)[visitor] = record
        if len(groups) == 2 * self._round:
            self._round = len(groups)
