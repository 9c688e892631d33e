"""MoEngage Personalize for Python web apps."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

# The names are loaded when they are asked for: our pytest plugin is imported by every
# pytest run where this package is installed, and that must cost next to nothing.
if TYPE_CHECKING:
    from .asgi import MoEngageMiddleware
    from .client import MoEngageClient
    from .current import current_experiences
    from .errors import (
        AnswerError,
        APIError,
        AuthenticationError,
        DeadlineError,
        DuplicateMiddlewareError,
        InvalidRequestError,
        MoEngageError,
        OutboxError,
        Problem,
        RateLimitedError,
        SettingsError,
        TransportError,
    )
    from .models import (
        Action,
        Event,
        Experience,
        ExperienceMetadata,
        Experiences,
        Identity,
        Reason,
        Source,
    )
    from .outbox import MemoryOutbox, SQLiteOutbox
    from .settings import Route, Settings
    from .sources import ValueSource
    from .visits import Visit

__all__ = [
    "APIError",
    "Action",
    "AnswerError",
    "AuthenticationError",
    "DeadlineError",
    "DuplicateMiddlewareError",
    "Event",
    "Experience",
    "ExperienceMetadata",
    "Experiences",
    "Identity",
    "InvalidRequestError",
    "MemoryOutbox",
    "MoEngageClient",
    "MoEngageError",
    "MoEngageMiddleware",
    "OutboxError",
    "Problem",
    "RateLimitedError",
    "Reason",
    "Route",
    "SQLiteOutbox",
    "Settings",
    "SettingsError",
    "Source",
    "TransportError",
    "ValueSource",
    "Visit",
    "__version__",
    "current_experiences",
]

_HOMES = {
    "asgi": ("MoEngageMiddleware",),
    "client": ("MoEngageClient",),
    "current": ("current_experiences",),
    "errors": (
        "AnswerError",
        "APIError",
        "AuthenticationError",
        "DeadlineError",
        "DuplicateMiddlewareError",
        "InvalidRequestError",
        "MoEngageError",
        "OutboxError",
        "Problem",
        "RateLimitedError",
        "SettingsError",
        "TransportError",
    ),
    "models": (
        "Action",
        "Event",
        "Experience",
        "ExperienceMetadata",
        "Experiences",
        "Identity",
        "Reason",
        "Source",
    ),
    "outbox": ("MemoryOutbox", "SQLiteOutbox"),
    "settings": ("Route", "Settings"),
    "sources": ("ValueSource",),
    "visits": ("Visit",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
