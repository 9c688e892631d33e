"""The experiences of the current request, from anywhere in its code."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

from ..concurrency.background_loop import background
from ..models.experiences import Experiences
from ..models.reasons import Reason

logger = logging.getLogger(__name__)

KEY = "moe_middleware.page"
"""Where a request's scope or environ has its page while that is under way: every door
looks for the mark of the others. In an environ, a key without a dot is CGI's, and a
text: ``wsgiref.validate`` refuses others."""

current: ContextVar[Experiences | None] = ContextVar("moe_middleware", default=None)
enter = current.set
leave = current.reset


def current_experiences() -> Experiences:
    """Return the current request's experiences.

    Outside of a request, as in a thread without its context, it returns an object
    without matches, and logs the place of the call.
    """
    found = current.get()
    if found is None:
        _log_place(sys._getframe(1))
        return Experiences(missing=Reason.NO_REQUEST)
    # It may be read while the response streams.
    found.handed_out = True
    return found


def _log_place(caller: FrameType) -> None:
    """Log once for each place in the app that there is no request.

    Args:
        caller: The frame of the app's code.
    """
    place = f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
    if place in _logged or len(_logged) >= MAX_LOGGED:
        return
    _logged.add(place)
    logger.warning("no_request at=%s: %s", place, _OUTSIDE)


_OUTSIDE = (
    "current_experiences() found no request here: in a thread, take it before the "
    "thread starts and hand it over, or run the thread in contextvars.copy_context()"
)

MAX_LOGGED = 1000
"""The most places in the app that are logged."""

_logged: set[str] = set()


def on_event_loop() -> bool:
    """Whether this thread runs an event loop, so that nothing here may block."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    return not background.is_elsewhere(loop)
