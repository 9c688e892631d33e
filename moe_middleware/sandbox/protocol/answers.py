"""The bodies of successful responses, in the published JSON. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson

from ..decisions.decisions import Outcome, decide
from ..decisions.judgements import surroundings_of
from ..decisions.targeting import context_of
from ..decisions.visitors import Visitor
from ..workspace.schedules import Status
from ..workspace.workspace import Value, Workspace

LISTED = (Status.ACTIVE, Status.PAUSED, Status.SCHEDULED)
"""The statuses in metadata; there are no others."""

_WAITING = (Status.PAUSED, Status.SCHEDULED)


def fetch_answer(
    workspace: Workspace, keys: Iterable[str] | None, visitor: Visitor, *, now: float
) -> dict[str, Any]:
    """Return the visitor's experiences; keys without a match are left out.

    Without keys it returns all Active experiences. ``now`` is in unix seconds.
    """
    known = {experience.key: experience for experience in workspace.experiences}
    around = surroundings_of(workspace, now)
    paused_as_empty = keys is not None and workspace.paused_as_empty_payload
    answers: dict[str, Any] = {}
    for key in known if keys is None else keys:
        if key not in known or key in answers:
            continue
        decision = decide(workspace, known[key], visitor, around)
        if decision.outcome is Outcome.SERVED:
            answers[key] = {
                "payload": _payload(decision.payload, workspace.values_as_text),
                "experience_context": context_of(known[key], decision),
            }
        elif paused_as_empty and decision.status in _WAITING:
            answers[key] = {"payload": {}}
    return {"experiences": answers}


def metadata_answer(
    workspace: Workspace, statuses: Collection[str], *, now: float
) -> dict[str, Any]:
    """Return the experiences with these statuses at a time, in unix seconds."""
    listed = [
        {
            "experience_name": experience.name,
            "experience_key": experience.key,
            "status": status.value,
        }
        for experience in workspace.experiences
        if (status := experience.status_at(now)) in LISTED and status in statuses
    ]
    return {"metadata": {"count": len(listed), "experiences": listed}}


def events_answer(req_id: str) -> dict[str, Any]:
    """Return the receipt for a valid events call."""
    return {
        "status": "success",
        "message": "The events are accepted and will be processed soon.",
        "req_id": req_id,
    }


def _payload(payload: Mapping[str, Value], as_text: bool) -> dict[str, Any]:
    return {
        name: {
            "value": _text(value.value) if as_text else value.value,
            "data_type": value.data_type.value,
        }
        for name, value in payload.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
