"""The runtimes of this process: one for each configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Any, Protocol, TypedDict, TypeVar, Unpack
from weakref import WeakSet, WeakValueDictionary

from ..settings.replacements_in_tests import in_place_of
from ..settings.settings import Config, Settings
from .health import HealthState
from .runtime import Runtime

_runtimes: WeakValueDictionary[str, Runtime] = WeakValueDictionary()


class Door(Protocol):
    """Anything that personalizes requests by a runtime."""

    runtime: Runtime


_doors: WeakSet[Door] = WeakSet()


class WorkspaceKeywords(TypedDict, total=False):
    """The keywords of a door that override the environment and the file."""

    workspace_id: str | None
    api_key: str | None
    data_center: str | None
    base_url: str | None


Init = TypeVar("Init", bound=Callable[..., None])


def shows_keywords(init: Init) -> Init:
    """Let ``inspect.signature`` and ``help`` show the keywords one by one."""
    *given, _ = signature(init).parameters.values()
    named = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation="str | None")
        for name in WorkspaceKeywords.__annotations__
    ]
    # On the class it would be its instances' signature, too.
    init.__signature__ = Signature([*given, *named])  # type: ignore[attr-defined]
    return init


def runtime_for(
    config: Config,
    *,
    clock: Callable[[], float] = time.time,
    stopwatch: Callable[[], float] = time.monotonic,
    **workspace: Unpack[WorkspaceKeywords],
) -> Runtime:
    """Return the runtime of a configuration, the same one for the same configuration.

    Frameworks may make a middleware several times; they all share one cache, one outbox
    and one relay.

    Args:
        config: Settings, a mapping, a settings file, or None for ``MOE_CONFIG``, else
            ``moe.yml``.
        clock: As for ``Runtime``; like ``stopwatch`` it has no effect on a runtime that
            exists already.
        stopwatch: As for ``Runtime``.
        workspace: Values that override the file and the environment; None is ignored.

    Raises:
        SettingsError: The configuration is invalid; it lists every mistake.
        TypeError: A keyword is unknown.
    """
    names = WorkspaceKeywords.__annotations__
    if unknown := workspace.keys() - names:
        listed = ", ".join(sorted(unknown))
        raise TypeError(f"unknown keyword {listed}: take config or {', '.join(names)}")
    overrides: dict[str, Any] = {
        name: value for name, value in workspace.items() if value is not None
    }
    settings = in_place_of(Settings.of(config, **overrides))
    name = str(id(config)) if settings is config else settings.fingerprint.hex()
    runtime = _runtimes.get(name)
    if runtime is None:
        made = Runtime(settings, clock=clock, stopwatch=stopwatch)
        runtime = _runtimes[name] = made
    return runtime


def open_door(
    door: Door, config: Config, **workspace: Unpack[WorkspaceKeywords]
) -> None:
    """Give a door its runtime, which tests can exchange; see ``runtime_for``."""
    door.runtime = runtime_for(config, **workspace)
    _doors.add(door)


@contextmanager
def exchanged() -> Iterator[None]:
    """Give all doors runtimes of the settings that stand in for theirs now."""
    before = [(door, door.runtime) for door in [*_doors]]
    for door, runtime in before:
        door.runtime = runtime_for(runtime.settings)
    try:
        yield
    finally:
        for door, runtime in before:
            door.runtime = runtime


def runtimes() -> list[Runtime]:
    """Return all runtimes of this process."""
    return list(_runtimes.values())


def clear_caches() -> None:
    """Clear the caches of all runtimes, as between two tests."""
    for runtime in runtimes():
        runtime.cache.clear()
        runtime.catalogue.clear()


async def health(*, everyone: bool = False) -> list[HealthState]:
    """Return the state of each configuration in this process, for readiness probes.

    ``HealthState`` lists its values. During an outage of MoEngage ``ok`` stays true:
    pages go on.

    Args:
        everyone: Whether to add ``processes``, the latest note of every server and
            relay on the same outbox, and ``totals``, their counts together
            (``counters``) since the first began (``started_at``), with ended processes.
    """
    return [await one.health(everyone=everyone) for one in runtimes()]
