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
        BudgetError,
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
    from .observers import Counters, Observer
    from .outbox import MemoryOutbox, SQLiteOutbox, open_outbox
    from .runtime import health
    from .settings import Route, Settings
    from .sources import ValueSource
    from .visits import Visit
    from .wsgi import MoEngageWSGIMiddleware

__all__ = [
    "APIError",
    "Action",
    "AnswerError",
    "AuthenticationError",
    "BudgetError",
    "Counters",
    "DeadlineError",
    "DuplicateMiddlewareError",
    "Event",
    "Experience",
    "ExperienceMetadata",
    "Experiences",
    "Identity",
    "InvalidRequestError",
    "JSONFormatter",
    "MemoryOutbox",
    "MoEngageClient",
    "MoEngageError",
    "MoEngageMiddleware",
    "MoEngageWSGIMiddleware",
    "Observer",
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
    "health",
    "open_outbox",
]

_HOMES = {
    "asgi": ("MoEngageMiddleware",),
    "client": ("MoEngageClient",),
    "current": ("current_experiences",),
    "json_logs": ("JSONFormatter",),
    "errors": (
        "AnswerError",
        "APIError",
        "AuthenticationError",
        "BudgetError",
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
    "observers": ("Counters", "Observer"),
    "outbox": ("MemoryOutbox", "SQLiteOutbox", "open_outbox"),
    "runtime": ("health",),
    "settings": ("Route", "Settings"),
    "sources": ("ValueSource",),
    "visits": ("Visit",),
    "wsgi": ("MoEngageWSGIMiddleware",),
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
