"""Lets tests replace the settings of a site, wherever it reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .settings import Settings

_change: Callable[[Settings], Settings] | None = None


def in_place_of(settings: Settings) -> Settings:
    """Return the settings to use instead: the same, unless a test replaces them."""
    return settings if _change is None else _change(settings)


def tests_stand_in() -> bool:
    """Whether a test replaces the settings at the moment."""
    return _change is not None


@contextmanager
def standing_in(change: Callable[[Settings], Settings]) -> Iterator[None]:
    """Apply a change to all settings that this process uses from now on.

    Objects that exist already keep their settings; see ``runtimes.exchanged``.
    """
    global _change
    before, _change = _change, change
    try:
        yield
    finally:
        _change = before
