"""What must happen around a fork of the process, where there is such a thing."""

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
    """Have hooks called at each fork of this process; where none can be, do nothing.

    Windows and WebAssembly have no fork. A fork that Python does not hear of, as
    uWSGI's, calls no hook.
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
