"""The observers of a configuration: our counters, the app's own, metrics, traces."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..models.errors import SettingsError
from ..models.observers import Counters, Observer, Observers
from ..settings.import_strings import load, name_of, unfit_signature
from ..settings.settings import Settings
from ..telemetry.contract import Telemetries, Telemetry

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of prometheus_client that lets several processes count together."""

_MAKE_IT = "make it, empty, before the server starts"

INSTALL = "the package {0} is missing: pip install 'moe_middleware[{1}]'"


def observer_of(
    settings: Settings, counters: Counters, telemetry: Iterable[Telemetry] = ()
) -> Observer:
    """Return the observer: the counters, with the app's own and further ones, if any.

    Raises:
        SettingsError: ``observer`` is no observer.
    """
    others: list[Observer] = [*telemetry]
    if settings.observer is not None:
        others.insert(0, _own_observer(settings))
    return Observers(counters, *others) if others else counters


def telemetry_of(settings: Settings) -> Telemetries:
    """Return what ``observability`` turns on.

    Raises:
        SettingsError: The package for one of them is missing.
    """
    found: list[Telemetry] = []
    keys = [key for route in settings.routes for key in route.experiences]
    outbox, wanted = settings.events.outbox, settings.observability
    if wanted.prometheus:
        folder = os.environ.get(MULTIPROCESS)
        if folder and not os.path.isdir(folder):
            message = f"{MULTIPROCESS} is {folder!r}, which is no folder: {_MAKE_IT}"
            problem = settings.problem("observability.prometheus", message)
            raise SettingsError([problem])
        try:
            from ..telemetry.prometheus import PrometheusObserver
        except ImportError as error:
            raise _missing(settings, "prometheus", "prometheus-client") from error
        found.append(
            PrometheusObserver(keys, str(outbox), outbox_is_own=outbox.is_memory)
        )
    if wanted.otel:
        try:
            from ..telemetry.otel import OpenTelemetryObserver
        except ImportError as error:
            raise _missing(settings, "otel", "opentelemetry-api") from error
        found.append(OpenTelemetryObserver(keys, str(outbox)))
    return Telemetries(found)


def _missing(settings: Settings, extra: str, package: str) -> SettingsError:
    message = INSTALL.format(package, extra)
    return SettingsError([settings.problem(f"observability.{extra}", message)])


def _own_observer(settings: Settings) -> Observer:
    given = settings.observer
    assert given is not None
    name = name_of(given)
    try:
        found = load(given)
    except (ImportError, ValueError) as error:
        raise SettingsError([settings.problem("observer", str(error))]) from error
    if callable(found) and not isinstance(found, Observer):
        if takes := unfit_signature(found):
            message = f"{name!r} takes {takes}: give an observer that is made already"
            raise SettingsError([settings.problem("observer", message)])
        try:
            found = found()
        except Exception as error:
            # The error's own text may contain an address or a password.
            message = f"{name!r} raised {type(error).__name__}: it makes no observer"
            raise SettingsError([settings.problem("observer", message)]) from error
    if not isinstance(found, Observer):
        message = (
            f"{name!r} is {type(found).__name__}: it must be an object of a class that "
            "inherits from moe_middleware.Observer, or that class"
        )
        raise SettingsError([settings.problem("observer", message)])
    return found
