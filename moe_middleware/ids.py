"""New ids: random uuids, minted without a system call each."""

from __future__ import annotations

import os
import threading

POOLED = 256
"""Ids per look at the system's randomness, which costs more than all the rest."""

_ID_BYTES = 16


class IdMint:
    """Mints uuids of version 4 from the system's own randomness, on any thread."""

    def __init__(self) -> None:
        self._empty()
        os.register_at_fork(after_in_child=self._empty)

    def _empty(self) -> None:
        """Forget the pool: a forked child that kept it would mint its parent's ids."""
        self._pool: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Return a new uuid as text."""
        with self._lock:
            if not self._pool:
                fresh = os.urandom(POOLED * _ID_BYTES)
                self._pool = [
                    fresh[at : at + _ID_BYTES] for at in range(0, len(fresh), _ID_BYTES)
                ]
            random = self._pool.pop()
        digits = random.hex()
        variant = "89ab"[random[8] & 3]
        return (
            f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-"
            f"{variant}{digits[17:20]}-{digits[20:]}"
        )


new_id = IdMint()
