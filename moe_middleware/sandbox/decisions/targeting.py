"""Decides for the API and the page Explain, with reasons. Pure: no I/O, no clock.

A rule whose input is missing does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..workspace.schedules import Schedule, Status, local_time
from ..workspace.workspace import Audience, Experience, Value, Variation, Workspace
from .decisions import Decision, Outcome, decide
from .explanations import Step, step_of
from .judgements import Surroundings, surroundings_of
from .visitors import Visitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The decision for a visitor and one experience, with its reasons.

    Attributes:
        outcome: Whether the experience is served, or why not.
        reason: A sentence for people.
        audience: The first audience that matches; None if none does or none was tried.
        variation: The user's variation; None if none was drawn.
        bucket: The user's place among the variations, 0 to 100, each as long as its
            percentage; None if no variation was drawn.
        payload: The payload as sent; empty if nothing is served.
        context: The experience_context as sent; empty if nothing is served.
        steps: The audiences tried, in order, up to the one that matches.
    """

    outcome: Outcome
    reason: str
    audience: Audience | None = None
    variation: Variation | None = None
    bucket: float | None = None
    payload: Mapping[str, Value] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()


def explain(
    workspace: Workspace, experience: Experience, visitor: Visitor, *, now: float
) -> Explanation:
    """Return what a visitor gets at a time, in unix seconds, and why."""
    around = surroundings_of(workspace, now)
    decision = decide(workspace, experience, visitor, around)
    assignment = decision.assignment
    served = decision.outcome is Outcome.SERVED
    return Explanation(
        outcome=decision.outcome,
        reason=_reason(experience, decision, visitor),
        audience=decision.audience,
        variation=assignment.variation if assignment else None,
        bucket=assignment.bucket if assignment else None,
        payload=decision.payload,
        context=context_of(experience, decision) if served else {},
        steps=_steps(experience, decision, visitor, around),
    )


def context_of(experience: Experience, decision: Decision) -> dict[str, str]:
    """Return the experience_context of a served experience."""
    assert decision.audience is not None
    assert decision.assignment is not None
    audience = decision.audience
    variation_id = decision.assignment.variation.variation_id
    locale = decision.locale
    # 0 is the default language.
    number = experience.locales.index(locale) + 1 if locale else 0
    return {
        "cid": f"{experience.cid_token}_F_T_WP_AB_{variation_id}"
        f"_P_0_AU_{audience.audience_id}",
        "experience": experience.name,
        "moe_locale_id": str(number),
        "moe_variation_id": variation_id,
        "audience_name": audience.name,
        "audience_id": audience.audience_id,
        "type": "Web Personalization",
        "experience_type": "API based Experience",
    }


def _steps(
    experience: Experience, decision: Decision, visitor: Visitor, around: Surroundings
) -> tuple[Step, ...]:
    if decision.outcome is Outcome.NOT_ACTIVE:
        return ()
    steps = []
    for audience in experience.audiences:
        steps.append(step_of(audience, visitor, around))
        if audience is decision.audience:
            break
    return tuple(steps)


def _reason(experience: Experience, decision: Decision, visitor: Visitor) -> str:
    match decision.outcome:
        case Outcome.NOT_ACTIVE:
            return _not_active(decision.status, experience.schedule)
        case Outcome.NO_MATCH:
            unknown = " The visitor is not a known customer." * (
                visitor.attributes is None
            )
            return f"No audience matches.{unknown}"
    assert decision.audience is not None
    audience = decision.audience
    matches = f"The audience {audience.name!r} matches"
    if decision.outcome is Outcome.CONTROL_GROUP:
        return f"{matches}, but the user is in {decision.about}."
    assert decision.assignment is not None
    variation = decision.assignment.variation
    low, high = share_of(audience, variation)
    drawn = f"Bucket {decision.assignment.bucket:.2f}"
    named = f"{variation.name}, " if variation.name else ""
    chosen = f"variation {variation.variation_id} ({named}{low:.4g}-{high:.4g})"
    if decision.outcome is Outcome.WITHHELD:
        withheld = f"Its payload is withheld: {decision.about}."
        return f"{matches}. {drawn}: {chosen}. {withheld}"
    return f"{matches}. {drawn}: {chosen}."


def share_of(audience: Audience, variation: Variation) -> tuple[float, float]:
    """Return the range of a variation's buckets, within 0 to 100."""
    start = 0.0
    for one in audience.variations:
        if one.variation_id == variation.variation_id:
            break
        start += one.percent
    return start, start + variation.percent


def _not_active(status: Status, schedule: Schedule | None) -> str:
    when = ""
    if schedule and status is Status.SCHEDULED and schedule.start_at is not None:
        when = f" from {local_time(schedule.start_at, schedule.timezone)}"
    if schedule and status is Status.EXPIRED and schedule.end_at is not None:
        when = f" since {local_time(schedule.end_at, schedule.timezone)}"
    return f"{status}{when}: the API returns only Active experiences."
