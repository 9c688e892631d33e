"""Registers functions that run around a fork of the process, where forks exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

Hook = Callable[[], Any]


class Inherited(Protocol):
    """An object that a forked child has from its parent, and cannot use as it is."""

    def begin_in_child(self) -> None:
        """Drop what belongs to the parent: threads, sockets, locks that are held."""


def register_fork_hooks(
    *,
    before: Hook | None = None,
    after_in_parent: Hook | None = None,
    after_in_child: Hook | None = None,
) -> None:
    """Call hooks at each fork of this process; do nothing on systems without forks.

    Windows and WebAssembly have no fork. A fork outside of Python, as uWSGI's, calls no
    hook.
    """
    register = getattr(os, "register_at_fork", None)
    if register is None:
        return
    hooks = {
        "before": before,
        "after_in_parent": after_in_parent,
        "after_in_child": after_in_child,
    }
    register(**{when: hook for when, hook in hooks.items() if hook is not None})


def begin_in_children(one: Inherited) -> None:
    """Call an object's ``begin_in_child`` in each child, for as long as it exists."""
    _inherited.add(one)


def _begin_all() -> None:
    for one in list(_inherited):
        one.begin_in_child()


# A hook can never be unregistered: one for all objects keeps none of them alive.
_inherited: WeakSet[Inherited] = WeakSet()
register_fork_hooks(after_in_child=_begin_all)
