"""Checks that an app is of the kind that a middleware wraps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal

Kind = Literal["ASGI", "WSGI"]

_ARGUMENTS = {"ASGI": 3, "WSGI": 2, "Django": 1}

_INSTEAD = {
    "ASGI": "an ASGI app: take moe_middleware.MoEngageMiddleware",
    "WSGI": "a WSGI app: take moe_middleware.MoEngageWSGIMiddleware, or for Flask "
    "MoEngage(app) from moe_middleware.flask",
    "Django": "what Django gives to its middlewares: in MIDDLEWARE, list "
    "moe_middleware.django.MoEngageMiddleware",
}


def check_wrapped(app: object, kind: Kind) -> None:
    """Refuse an app of another kind, by the number of its parameters.

    An app without a readable signature passes.

    Raises:
        TypeError: The app is of another kind; the text names the right middleware.
    """
    if not callable(app):
        raise TypeError(
            f"this middleware wraps {kind} apps, and {type(app).__name__} is none: "
            "give it the app itself"
        )
    # A class has the parameters of its __init__.
    if inspect.isclass(app) or _takes(app, _ARGUMENTS[kind]):
        return
    # Only an app of a kind that we know is refused.
    for other, instead in _INSTEAD.items():
        if _takes(app, _ARGUMENTS[other]):
            name = getattr(app, "__qualname__", type(app).__name__)
            raise TypeError(
                f"this middleware wraps {kind} apps, and {name} is {instead}"
            )


def _takes(app: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(app).bind(*[None] * count)
    except ValueError:
        # It has no readable signature.
        return True
    except TypeError:
        return False
    return True
