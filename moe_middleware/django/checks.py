"""Django's system checks: what ``manage.py check`` says of our part of a project."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..models.errors import SettingsError
from ..settings.import_strings import call_fault
from ..settings.settings import Settings
from . import MoEngageMiddleware
from .configuration import NEEDED, needed_kinds, order_faults, project_settings

_LISTED = "moe_middleware.django.MoEngageMiddleware"


def found() -> Iterator[CheckMessage]:
    """Yield what keeps the site from starting, or from personalizing pages."""
    own = [name for name in project.MIDDLEWARE if _is_ours(name)]
    if not own:
        yield Warning(
            f"MIDDLEWARE does not list {_LISTED}, so pages have no experiences.",
            hint="List it below AuthenticationMiddleware. If wsgi.py or asgi.py wraps "
            "the project in our middleware, silence this check.",
            id="moe_middleware.W003",
        )
    if len(own) > 1:
        yield Error(
            f"MIDDLEWARE lists our middleware {len(own)} times, and each would fetch "
            "and count.",
            hint="Keep one.",
            id="moe_middleware.E003",
        )
    try:
        settings = project_settings()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="moe_middleware.E001")
    except SettingsError as error:
        yield from _mistakes(error)
    else:
        yield from _doubts(settings)
        if own:
            yield from _order(own[0], settings)


def _is_ours(name: str) -> bool:
    try:
        middleware = import_string(name)
    except Exception:
        return False  # Django says so itself, when it starts
    return isinstance(middleware, type) and issubclass(middleware, MoEngageMiddleware)


def _mistakes(error: SettingsError) -> Iterator[CheckMessage]:
    for problem in error.problems:
        if problem.unset:
            # Commands of a build or of a test run without the site's secrets.
            yield Warning(
                f"{problem}",
                hint="A server does not start without it.",
                obj="MOENGAGE",
                id="moe_middleware.W001",
            )
        else:
            yield Error(f"{problem}", obj="MOENGAGE", id="moe_middleware.E001")


def _doubts(settings: Settings) -> Iterator[CheckMessage]:
    for doubt in settings.doubts():
        yield Warning(f"{doubt}", obj="MOENGAGE", id="moe_middleware.W002")
    for where, source in settings.sources():
        if source.call is not None and (fault := call_fault(source.call)):
            problem = settings.problem(where, fault)
            yield Error(
                f"{problem}",
                hint="Its value is missing on every page.",
                obj="MOENGAGE",
                id="moe_middleware.E004",
            )


def _order(own: str, settings: Settings) -> Iterator[CheckMessage]:
    for fault in order_faults(own, settings):
        yield Error(f"{fault}.", id="moe_middleware.E002")
    for kind in needed_kinds(settings):
        if NEEDED[kind] not in project.MIDDLEWARE:
            yield Warning(
                f"The settings read the {kind} of a request, and MIDDLEWARE does not "
                f"list {NEEDED[kind]}.",
                hint=f"List it above ours, unless another middleware sets the {kind}.",
                id="moe_middleware.W004",
            )
