"""The settings of a Django project, from its setting ``MOENGAGE``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as project
from django.core.exceptions import ImproperlyConfigured

from ..models.errors import Problem, SettingsError
from ..settings.settings import Settings
from ..settings.value_sources import ValueSource

SIGNED_IN = ValueSource(user="pk")
"""The default source of the customer_id."""

NEEDED = {
    "session": "django.contrib.sessions.middleware.SessionMiddleware",
    "user": "django.contrib.auth.middleware.AuthenticationMiddleware",
}
"""The middlewares that requests have a session and a user from."""

logger = logging.getLogger(__name__)

# An iterator, so that only one of several threads gets the value.
_unlogged = iter((True,))

_known: dict[str, tuple[object, Settings]] = {}


def project_settings(**keywords: Any) -> Settings:
    """Return the project's settings, the same object for the same configuration.

    Each of Django's test clients makes its own middleware; they share one cache.

    Args:
        keywords: As for ``Settings.load``.

    Raises:
        SettingsError: The configuration is invalid; it lists every mistake.
        ImproperlyConfigured: ``MOENGAGE`` is no form of configuration.
    """
    given = getattr(project, "MOENGAGE", None)
    loaded = _loaded(given, keywords)
    # It is kept with its settings, so that no other object gets its id.
    name = str(id(given)) if loaded is given else loaded.fingerprint.hex()
    if loaded.identity.customer_id is None:
        identity = loaded.identity.model_copy(update={"customer_id": SIGNED_IN})
        loaded = loaded.model_copy(update={"identity": identity})
    return _known.setdefault(name, (given, loaded))[1]


def order_faults(own: str, settings: Settings) -> Iterator[str]:
    """Yield which middlewares stand below ours, although the settings need them.

    Args:
        own: Our middleware's name in ``MIDDLEWARE``.
        settings: The project's.
    """
    kinds = {source.kind for _, source in settings.sources()}
    listed = [*project.MIDDLEWARE]
    above = listed[: listed.index(own)] if own in listed else listed
    for kind, other in NEEDED.items():
        if kind in kinds and other in listed and other not in above:
            yield (
                f"MIDDLEWARE lists {own} above {other}, where a request has no "
                f"{kind} yet: list it below"
            )


def needed_kinds(settings: Settings) -> list[str]:
    """Return the kinds of sources that pages miss without a middleware of Django's."""
    # Without a user, the default source gives None, which is fine.
    named = {source.kind for _, source in settings.sources() if source is not SIGNED_IN}
    return [kind for kind in NEEDED if kind in named]


def warn_without_app() -> None:
    """Log, once, that ``INSTALLED_APPS`` lacks us: no check of ours can run then."""
    if apps.is_installed("moe_middleware") or not any(map(_lacks_tags, _engines())):
        return
    if next(_unlogged, False):
        logger.warning(
            "django_app_missing: templates cannot {% load moengage %}, and manage.py "
            "has neither our checks nor the command moe: add 'moe_middleware' to "
            "INSTALLED_APPS"
        )


def _engines() -> list[Mapping[str, Any]]:
    named = "django.template.backends.django.DjangoTemplates"
    return [one for one in project.TEMPLATES if one.get("BACKEND") == named]


def _lacks_tags(engine: Mapping[str, Any]) -> bool:
    options = engine.get("OPTIONS", {})
    libraries = [*options.get("libraries", {}).values(), *options.get("builtins", ())]
    return "moe_middleware.templatetags.moengage" not in libraries


def _loaded(given: object, keywords: Mapping[str, Any]) -> Settings:
    if not (given is None or isinstance(given, Settings | Mapping | str | os.PathLike)):
        raise ImproperlyConfigured(
            f"MOENGAGE is {type(given).__name__}: set it to the path of a settings "
            "file, a mapping like its content, or a moe_middleware.Settings"
        )
    try:
        return Settings.of(given, **keywords)
    except SettingsError as error:
        problems = [_of_the_setting(problem, given) for problem in error.problems]
        raise SettingsError(problems) from error


def _of_the_setting(problem: Problem, given: object) -> Problem:
    """Name Django's setting if it is at fault."""
    if problem.file is None:
        return replace(problem, file="MOENGAGE")
    if problem.line is not None or Path(problem.file).exists():
        return problem
    named = "holds a mapping instead" if given else "names it, or holds a mapping"
    about = f"{problem.message}; the setting MOENGAGE {named}"
    return replace(problem, message=about)
