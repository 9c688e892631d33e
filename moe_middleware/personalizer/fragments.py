"""Notes which parts of a page are one visitor's own, so that no cache keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Noted:
    """What was noted while a part was rendered.

    Attributes:
        personal: Whether experiences were used in it.
    """

    __slots__ = ("personal",)

    def __init__(self) -> None:
        self.personal = False


fragment: ContextVar[Noted | None] = ContextVar("moe_fragments", default=None)
"""Where a part that is rendered just now is noted; None where nothing wants to know."""


def note_personal() -> None:
    """Note that what is rendered just now is one visitor's own."""
    noted = fragment.get()
    if noted is not None:
        noted.personal = True


@contextmanager
def noting() -> Iterator[Noted]:
    """Note what is rendered meanwhile, here or further in."""
    outer, inner = fragment.get(), Noted()
    token = fragment.set(inner)
    try:
        yield inner
    finally:
        fragment.reset(token)
        if outer is not None and inner.personal:
            outer.personal = True
