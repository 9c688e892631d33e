"""The keywords and environment variables that replace values of a settings file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .documents import Override
from .validation import Mistake, Place
from .variables import VariableError, Variables

VARIABLES: Mapping[str, Place] = {
    "MOE_WORKSPACE_ID": ("workspace", "id"),
    "MOE_API_KEY": ("workspace", "api_key"),
    "MOE_DATA_CENTER": ("workspace", "data_center"),
    "MOE_BASE_URL": ("workspace", "base_url"),
    "MOE_SECRET_KEY": ("secret_key",),
    "MOE_OUTBOX": ("events", "outbox"),
}
"""The environment variables that replace a file's values, and their places."""

KEYWORDS: Mapping[str, Place] = {
    "workspace_id": ("workspace", "id"),
    "api_key": ("workspace", "api_key"),
    "api_keys": ("workspace", "api_keys"),
    "data_center": ("workspace", "data_center"),
    "base_url": ("workspace", "base_url"),
}
"""The keywords of ``Settings`` for the workspace's values, and their places."""

_API_KEY: Place = ("workspace", "api_key")
_API_KEYS: Place = ("workspace", "api_keys")


def find_overrides(
    keywords: Mapping[str, Any], variables: Variables
) -> tuple[dict[Place, Override], list[Mistake]]:
    """Return the overrides by keywords and variables, and the mistakes in them."""
    found, mistakes = _keyword_overrides(keywords)
    for name, place in VARIABLES.items():
        if place in found or ("workspace",) in found:
            continue
        if place == _API_KEY and _API_KEYS in found:
            continue
        try:
            if value := variables.get(name):
                found[place] = Override(value, name)
        except VariableError as error:
            mistakes.append(Mistake(place, str(error)))
            # The file's value must not stand in for the one that cannot be read.
            found[place] = Override("", name)
    # api_key replaces the file's api_keys, and the other way round.
    for one, other in ((_API_KEY, _API_KEYS), (_API_KEYS, _API_KEY)):
        if one in found:
            found.setdefault(other, Override(None))
    return found, mistakes


def joined(given: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with some values of its sections replaced."""
    joined = dict(given)
    for name, value in over.items():
        section = joined.get(name)
        if isinstance(value, Mapping) and isinstance(section, Mapping):
            joined[name] = {**section, **value}
        else:
            joined[name] = value
    return joined


def names_of(keywords: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings that keywords set, as in ``events.outbox``."""
    for name, value in keywords.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{key}" for key in value)
        else:
            yield name


def _keyword_overrides(
    keywords: Mapping[Any, Any],
) -> tuple[dict[Place, Override], list[Mistake]]:
    found: dict[Place, Override] = {}
    mistakes: list[Mistake] = []
    given = {name: value for name, value in keywords.items() if value is not None}
    for name, value in given.items():
        if name in KEYWORDS:
            continue
        if not isinstance(name, str):  # a mapping may have any key
            mistakes.append(
                Mistake((str(name),), f"{name!r} is no text: keys are text")
            )
            continue
        if isinstance(value, Mapping) and value:
            found |= {(name, key): Override(inner) for key, inner in value.items()}
        else:
            found[(name,)] = Override(value)
    for name, place in KEYWORDS.items():
        if name not in given:
            continue
        if place in found or ("workspace",) in found:
            message = f"{name} and workspace say it twice: keep one of the two"
            mistakes.append(Mistake(place, message))
        found[place] = Override(given[name], name)
    return found, mistakes
