"""Notes which parts of a page are personal, so that no cache keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NONE: frozenset[str] = frozenset()


class Noted:
    """The note on a rendered part.

    Attributes:
        personal: Whether experiences were used in it that its cache key does not tell
            apart.
    """

    __slots__ = ("_covered", "_used", "personal")

    def __init__(self, covered: frozenset[str]) -> None:
        self.personal = False
        self._covered = covered
        self._used: set[str] = set()

    def reads(self, keys: frozenset[str]) -> bool:
        """Note that payloads are read; return whether the cache key covers them."""
        covered = keys <= self._covered
        self.personal |= not covered
        self._used |= keys
        return covered

    def add(self, inner: Noted) -> None:
        """Add the note of a nested part."""
        self.personal |= inner.personal
        self.reads(frozenset(inner._used))


fragment: ContextVar[Noted | None] = ContextVar("moe_fragments", default=None)
"""The note on the part that is being rendered; None if none is wanted."""


def note_personal() -> None:
    """Note that the part being rendered is personal."""
    noted = fragment.get()
    if noted is not None:
        noted.personal = True


@contextmanager
def noting(covered: frozenset[str] = _NONE) -> Iterator[Noted]:
    """Note uses within this block, also in nested ones.

    Args:
        covered: Keys whose payloads are part of the cache key.
    """
    outer, inner = fragment.get(), Noted(covered)
    token = fragment.set(inner)
    try:
        yield inner
    finally:
        fragment.reset(token)
        if outer is not None:
            outer.add(inner)
