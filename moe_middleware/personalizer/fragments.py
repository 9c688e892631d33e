"""Notes which parts of a page are personal, so that no cache keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Noted:
    """The note on a rendered part.

    Attributes:
        personal: Whether experiences were used in it.
    """

    __slots__ = ("personal",)

    def __init__(self) -> None:
        self.personal = False


fragment: ContextVar[Noted | None] = ContextVar("moe_fragments", default=None)
"""The note on the part that is being rendered; None if none is wanted."""


def note_personal() -> None:
    """Note that the part being rendered is personal."""
    noted = fragment.get()
    if noted is not None:
        noted.personal = True


@contextmanager
def noting() -> Iterator[Noted]:
    """Note uses within this block, also in nested ones."""
    outer, inner = fragment.get(), Noted()
    token = fragment.set(inner)
    try:
        yield inner
    finally:
        fragment.reset(token)
        if outer is not None and inner.personal:
            outer.personal = True
