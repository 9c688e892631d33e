"""MoEngage Personalize for Python web apps."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

# Names are loaded on first use: every pytest run with this package installed imports
# our plugin, which must cost next to nothing.
if TYPE_CHECKING:
    from .asgi import MoEngageMiddleware
    from .client.client import MoEngageClient
    from .client.sync import SyncMoEngageClient
    from .logs.json_logs import JSONFormatter
    from .models.errors import (
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
    from .models.events import Action, Event
    from .models.experience import Experience, ExperienceMetadata
    from .models.experiences import Experiences
    from .models.identity import Identity
    from .models.observers import Counters, Observer
    from .models.reasons import Reason, Source
    from .models.visits import Visit
    from .outbox import MemoryOutbox, SQLiteOutbox, open_outbox
    from .personalizer.current import current_experiences
    from .personalizer.health import HealthState
    from .personalizer.open_runtimes import health
    from .settings.settings import Route, Settings
    from .settings.value_sources import ValueSource
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
    "HealthState",
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
    "SyncMoEngageClient",
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
    "client.client": ("MoEngageClient",),
    "client.sync": ("SyncMoEngageClient",),
    "personalizer.current": ("current_experiences",),
    "logs.json_logs": ("JSONFormatter",),
    "models.errors": (
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
    "models.events": ("Action", "Event"),
    "models.experience": ("Experience", "ExperienceMetadata"),
    "models.experiences": ("Experiences",),
    "models.identity": ("Identity",),
    "models.reasons": ("Reason", "Source"),
    "models.observers": ("Counters", "Observer"),
    "outbox": ("MemoryOutbox", "SQLiteOutbox", "open_outbox"),
    "personalizer.health": ("HealthState",),
    "personalizer.open_runtimes": ("health",),
    "settings.settings": ("Route", "Settings"),
    "settings.value_sources": ("ValueSource",),
    "models.visits": ("Visit",),
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
