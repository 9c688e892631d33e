"""The experiences of the request being handled, from anywhere in its code."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from .loop_threads import background
from .models import Experiences, Reason

current: ContextVar[Experiences | None] = ContextVar("moe_middleware", default=None)


def current_experiences() -> Experiences:
    """Return the current request's experiences.

    Outside of a request it is an object of the same kind in which nothing matches.
    """
    found = current.get()
    return Experiences(missing=Reason.NO_REQUEST) if found is None else found


def on_event_loop() -> bool:
    """Whether this thread runs an event loop, so that nothing here may block."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    return not background.is_elsewhere(loop)
