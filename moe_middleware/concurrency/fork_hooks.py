"""Registers functions that run around a fork of the process, where forks exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Hook = Callable[[], Any]


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
