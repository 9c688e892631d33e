"""The observer of a configuration: our counters, and the app's own if it has one."""

from __future__ import annotations

from ..models.errors import SettingsError
from ..models.observers import Counters, Observer, Observers
from ..settings.import_strings import load, name_of, unfit_signature
from ..settings.settings import Settings


def observer_of(settings: Settings, counters: Counters) -> Observer:
    """Return the observer: the counters, with the app's own if it has one.

    Raises:
        SettingsError: ``observer`` is no observer.
    """
    if settings.observer is None:
        return counters
    name = name_of(settings.observer)
    try:
        found = load(settings.observer)
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
    return Observers(counters, found)
