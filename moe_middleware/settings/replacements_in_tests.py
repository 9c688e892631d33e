"""Lets tests replace the settings of a site, wherever it reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from .settings import Settings


class Follower(Protocol):
    """An object that takes other settings for as long as a test replaces them."""

    def follow(self, change: Callable[[Settings], Settings]) -> Callable[[], None]:
        """Use changed settings; return the function that ends this."""


# A client that is not closed must not live until the process ends.
_followers: WeakSet[Follower] = WeakSet()

_change: Callable[[Settings], Settings] | None = None


def in_place_of(settings: Settings) -> Settings:
    """Return the settings to use instead: the same, unless a test replaces them."""
    return settings if _change is None else _change(settings)


def tests_stand_in() -> bool:
    """Whether a test replaces the settings at the moment."""
    return _change is not None


def add_follower(follower: Follower) -> None:
    """Let an object take part in changes to come, for as long as it exists."""
    _followers.add(follower)


def remove_follower(follower: Follower) -> None:
    """Let an object keep its settings."""
    _followers.discard(follower)


@contextmanager
def standing_in(change: Callable[[Settings], Settings]) -> Iterator[None]:
    """Apply a change to all settings that this process uses from now on.

    Followers take part in it; doors do by ``runtimes.exchanged``.
    """
    global _change
    before, _change = _change, change
    ends = [follower.follow(change) for follower in [*_followers]]
    try:
        yield
    finally:
        _change = before
        for end in ends:
            end()
