"""The payloads that a workspace can answer with: from its file, or by asking it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.experience import Experience

if TYPE_CHECKING:
    from ..models.identity import Identity
    from ..settings.settings import Settings

PATIENCE = 10.0
"""The time limit of one fetch, in seconds."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload of an experience.

    Attributes:
        where: The variation, for people.
        values: The values by name.
        templated: Names of values that are made for each visitor.
    """

    where: str
    values: Mapping[str, Any]
    templated: frozenset[str] = frozenset()


Payloads = Mapping[str, Sequence[Payload]]
"""All known payloads of each experience, by key."""


def payloads_of_file(file: Path) -> Payloads:
    """Return the payloads of all variations and languages of a workspace file.

    Raises:
        SettingsError: The file is invalid.
    """
    from ..sandbox.workspace.file import load_workspace

    found: dict[str, list[Payload]] = {}
    for experience in load_workspace(file).experiences:
        payloads = found.setdefault(experience.key, [])
        for audience in experience.audiences:
            for variation in audience.variations:
                where = f"variation {variation.variation_id} of {audience.name!r}"
                for language, changed in [("", {}), *variation.locales.items()]:
                    values = {
                        name: one.value
                        for name, one in {**variation.payload, **changed}.items()
                    }
                    about = f"{where}, {language}" if language else where
                    payloads.append(Payload(about, values, _templated(values)))
    return found


def _templated(values: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, value in values.items() if "{{" in str(value))


def payloads_of_answers(
    settings: Settings, visitors: Iterable[Identity], attributes: Mapping[str, str]
) -> Payloads:
    """Return the payloads that the workspace answers for some visitors.

    Raises:
        MoEngageError: A fetch failed.
    """
    from ..client.sync import SyncMoEngageClient

    found: dict[str, dict[str, Payload]] = {}
    with SyncMoEngageClient(settings) as client:
        for visitor in visitors:
            answer = client.fetch(
                identity=visitor, attributes=attributes, timeout=PATIENCE
            )
            for one in filter(None, (answer[key] for key in answer)):
                payload = Payload(f"variation {one.variation or '-'}", one.payload)
                found.setdefault(one.key, {})[_whole(one)] = payload
    return {key: [*different.values()] for key, different in found.items()}


def _whole(experience: Experience) -> str:
    return f"{experience.variation} {sorted(experience.payload)} {experience.payload}"
