"""The experiences of a request that did not pass our middleware: none; it is logged."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..logs.log_lines import one_line
from ..logs.repeated_lines import RepeatLogger
from ..models.experiences import Experiences
from ..models.reasons import Reason

_lines = RepeatLogger(logging.getLogger(__name__))


def unmet(request: object, template: object) -> Experiences:
    """Return an object without matches; log if a request should have had others.

    Args:
        request: What the template has for its request; a framework's, or anything.
        template: Its name.
    """
    if _is_request(request):
        _lines.log(
            logging.WARNING,
            "middleware_not_met template=%s: %s",
            *(one_line(str(template or "<template>")), _ADVICE),
        )
    return Experiences(missing=Reason.NO_REQUEST)


def _is_request(candidate: object) -> bool:
    """Whether an object is a framework's HTTP request."""
    try:
        scope = getattr(candidate, "scope", None)
        if isinstance(scope, Mapping):
            return scope.get("type") == "http"
        # environ in WSGI frameworks, META in Django.
        metas = (getattr(candidate, name, None) for name in ("environ", "META"))
        return any(isinstance(meta, Mapping) and meta for meta in metas)
    except Exception:
        # Outside of a request, a proxy raises an exception.
        return False


_ADVICE = (
    "this request did not pass MoEngageMiddleware, so every visitor gets the fallback: "
    "add it to the app, as in app.add_middleware(MoEngageMiddleware), "
    "MoEngage(app) in Flask and Quart, or Django's MIDDLEWARE"
)
