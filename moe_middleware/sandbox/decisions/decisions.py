"""Decides what a visitor gets of an experience. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..workspace.schedules import Status
from ..workspace.template_worker import Withheld
from ..workspace.workspace import Audience, Experience, Value, Workspace
from .assignment import Assignment, assign, is_held_back
from .judgements import Surroundings, holds
from .payloads import payload_for
from .visitors import Visitor, locale_of


class Outcome(StrEnum):
    """The outcomes for a visitor and an experience."""

    SERVED = "served"
    NO_MATCH = "no_match"
    CONTROL_GROUP = "control_group"
    NOT_ACTIVE = "not_active"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision for a visitor and one experience.

    Attributes:
        payload: The payload as sent, if the outcome is ``served``.
        locale: The payload's language; None for the default.
        about: Details: the control group, or the message of a template.
    """

    outcome: Outcome
    status: Status
    audience: Audience | None = None
    assignment: Assignment | None = None
    payload: Mapping[str, Value] = field(default_factory=dict)
    locale: str | None = None
    about: str = ""


def decide(
    workspace: Workspace,
    experience: Experience,
    visitor: Visitor,
    around: Surroundings,
) -> Decision:
    """Return what the visitor gets of an experience.

    Status, then audience, then control group, then variation, then payload.
    """
    status = experience.status_at(around.now)
    if status is not Status.ACTIVE:
        return Decision(outcome=Outcome.NOT_ACTIVE, status=status)
    audience = find_audience(experience, visitor, around)
    if audience is None:
        return Decision(outcome=Outcome.NO_MATCH, status=status)
    # Only after the audience: they are compared with those who get it.
    if group := _control_group(workspace, experience, visitor.user_id):
        return Decision(
            outcome=Outcome.CONTROL_GROUP, status=status, audience=audience, about=group
        )
    assignment = assign(experience, audience, visitor.user_id)
    locale = locale_of(visitor, experience.locales)
    outcome, about = Outcome.SERVED, ""
    payload: Mapping[str, Value] = {}
    try:
        payload = payload_for(assignment.variation, visitor.attributes, locale)
    except Withheld as error:
        outcome, about = Outcome.WITHHELD, str(error)
    return Decision(
        outcome=outcome,
        status=status,
        audience=audience,
        assignment=assignment,
        payload=payload,
        locale=locale,
        about=about,
    )


def find_audience(
    experience: Experience, visitor: Visitor, around: Surroundings
) -> Audience | None:
    """Return the first audience whose rules all hold."""
    for audience in experience.audiences:
        if all(holds(rule, visitor, around) for rule in audience.rules):
            return audience
    return None


def _control_group(workspace: Workspace, experience: Experience, user_id: str) -> str:
    """Return the name of the user's control group; empty for none."""
    if experience.global_control_group and is_held_back(
        workspace.control_group, user_id, workspace.workspace_id
    ):
        return "the global control group"
    if is_held_back(experience.control_group, user_id, experience.cid_token):
        return "the experience's control group"
    return ""
