"""Templates that are rendered for a request which never met our middleware."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..logs.log_lines import one_line
from ..logs.repeated_lines import RepeatLogger

_lines = RepeatLogger(logging.getLogger(__name__))


def is_request(candidate: object) -> bool:
    """Whether this is an HTTP request that a framework handles, and not just a name."""
    try:
        scope = getattr(candidate, "scope", None)
        if isinstance(scope, Mapping):
            return scope.get("type") == "http"
        # WSGI frameworks have the one, Django has the other.
        metas = (getattr(candidate, name, None) for name in ("environ", "META"))
        return any(isinstance(meta, Mapping) and meta for meta in metas)
    except Exception:
        # A proxy raises what it likes outside of a request.
        return False


def note_unmet(template: object) -> None:
    """Say that a template wants experiences of a request that has none."""
    _lines.log(
        logging.WARNING,
        "middleware_not_met template=%s: %s",
        *(one_line(str(template or "<template>")), _ADVICE),
    )


_ADVICE = (
    "this request did not pass MoEngageMiddleware, so every visitor gets the fallback: "
    "add it to the app, as in app.add_middleware(MoEngageMiddleware), "
    "MoEngage(app) in Flask and Quart, or Django's MIDDLEWARE"
)
