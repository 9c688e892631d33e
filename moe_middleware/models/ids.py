"""New ids: random uuids, minted without a system call each."""

from __future__ import annotations

import os
import threading

from ..concurrency.fork_hooks import register_fork_hooks

POOLED = 256
"""Ids per look at the system's randomness, which costs more than all the rest."""

_ID_BYTES = 16


class IdMint:
    """Mints uuids of version 4 from the system's own randomness, on any thread."""

    def __init__(self) -> None:
        self._empty()
        register_fork_hooks(after_in_child=self._empty)

    def _empty(self) -> None:
        """Forget the pool: a forked child that kept it would mint its parent's ids."""
        self._pool: list[str] = []
        self._lock = threading.Lock()

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
