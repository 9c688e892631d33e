"""Makes random uuids, without a system call for each."""

from __future__ import annotations

import os
import threading

from ..concurrency.fork_hooks import register_fork_hooks

POOLED = 256
"""Ids per system call; the call takes longer than everything else."""

_ID_BYTES = 16


class IdMint:
    """Makes uuids of version 4 from the system's randomness. Thread-safe."""

    def __init__(self) -> None:
        self._empty()
        register_fork_hooks(after_in_child=self._empty)

    def _empty(self) -> None:
        """Drop the pool: a forked child would make the same ids as its parent."""
        self._pool: list[str] = []
        self._lock = threading.Lock()

    def take(self, count: int) -> list[str]:
        """Return so many new uuids."""
        pool = self._pool
        try:
            return [pool.pop() for _ in range(count)]
        except IndexError:
            return [self() for _ in range(count)]

    def __call__(self) -> str:
        """Return a new uuid as text."""
        try:
            return self._pool.pop()
        except IndexError:
            pass
        with self._lock:
            if not self._pool:
                self._pool = _minted()
            return self._pool.pop()


def _minted() -> list[str]:
    digits = os.urandom(POOLED * _ID_BYTES).hex()
    size = 2 * _ID_BYTES
    raw = [digits[at : at + size] for at in range(0, len(digits), size)]
    return [
        f"{one[:8]}-{one[8:12]}-4{one[13:16]}-"
        f"{_VARIANTS[one[16]]}{one[17:20]}-{one[20:]}"
        for one in raw
    ]


_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


new_id = IdMint()
new_ids = new_id.take
