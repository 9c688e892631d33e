"""Makes random uuids, without a system call for each."""

from __future__ import annotations

import os
import threading

from ..concurrency.fork_hooks import register_fork_hooks

POOLED = 256
"""Ids that are made at once."""

_ID_BYTES = 16


class IdMint:
    """Makes uuids of version 4 from the system's randomness. Thread-safe."""

    def __init__(self) -> None:
        self._empty()
        register_fork_hooks(after_in_child=self._empty)

    def _empty(self) -> None:
        """Drop the pool: a forked child would make the same ids as its parent."""
        self._pool: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Return a new uuid as text."""
        return self._next().decode()

    def take(self, count: int) -> list[bytes]:
        """Return so many new uuids, as ASCII."""
        pool = self._pool
        try:
            return [pool.pop() for _ in range(count)]
        except IndexError:
            # The pool has run out in between: what was taken from it is dropped.
            return [self._next() for _ in range(count)]

    def _next(self) -> bytes:
        while True:
            try:
                return self._pool.pop()
            except IndexError:
                with self._lock:
                    # Another thread may have filled it meanwhile.
                    self._pool = self._pool or _minted()


def _minted() -> list[bytes]:
    """Return new ids: one digit of all of them is written at a time."""
    digits = os.urandom(POOLED * _ID_BYTES).hex().encode()
    ids = bytearray(_FORM * POOLED)
    for random, place in enumerate(_PLACES):
        ids[place :: len(_FORM)] = digits[random :: 2 * _ID_BYTES]
    ids[_VARIANT :: len(_FORM)] = ids[_VARIANT :: len(_FORM)].translate(_VARIANTS)
    return bytes(ids).split()


_FORM = b"xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx "
_PLACES = [place for place, sign in enumerate(_FORM) if sign == ord("x")]
_VARIANT = 19
"""The place of the digit with two bits that are always the same."""
_VARIANTS = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)


new_id = IdMint()
new_ids = new_id.take
