"""What tests put in place of everything that a site's settings lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .settings import Settings

_change: Callable[[Settings], Settings] | None = None


def in_place_of(settings: Settings) -> Settings:
    """Return the settings to use for these: the same, unless tests are under way."""
    return settings if _change is None else _change(settings)


def tests_stand_in() -> bool:
    """Whether tests are under way that put something else in place."""
    return _change is not None


@contextmanager
def standing_in(change: Callable[[Settings], Settings]) -> Iterator[None]:
    """Let this process use changed settings instead of any, wherever they come from.

    What was opened before goes on with what it has.
    """
    global _change
    before, _change = _change, change
    try:
        yield
    finally:
        _change = before
