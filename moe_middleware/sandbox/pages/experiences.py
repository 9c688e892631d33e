"""The page of one experience: its results, its split, its definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..decisions.explanations import text_of
from ..memory.state import State
from ..reports.reports import AudienceReport, ExperienceReport, build_report
from ..workspace.rules import AllOf, AnyOf, NoneOf, Rule
from ..workspace.schedules import Schedule, find_zone
from ..workspace.workspace import Audience, Experience, Workspace
from . import words
from .calls import sample_calls
from .ranges import chart_of
from .rendering import address_of
from .splits import check_split

LEAST_USERS = 30
"""The fewest users of a variation whose interval and chance to win are shown.

With fewer, both depend more on the prior than on the data."""


def experience(sandbox: State, request: Request) -> dict[str, Any]:
    """Return the values of the page.

    Raises:
        HTTPException: There is no such experience.
    """
    workspace, now = sandbox.workspace, sandbox.clock()
    key = request.path_params["key"]
    known = {one.key: one for one in workspace.experiences}
    if key not in known:
        raise HTTPException(404, f"This workspace has no experience “{key}”.")
    experience = known[key]
    report = build_report(sandbox.store, workspace, now=now, experience_key=key)
    (figures,) = report.experiences
    return chart_of(sandbox, request, experience.cid_token) | {
        "experience": experience,
        "status": experience.status_at(now).value,
        "schedule": _in_words(experience.schedule),
        "report": figures,
        "audiences": [_audience(one) for one in figures.audiences],
        "b_ids": _b_ids(figures),
        "least": LEAST_USERS,
        "first": sample_calls(workspace, address_of(request), now, experience),
        "control": _control(workspace, experience),
        "definitions": [_definition(one) for one in experience.audiences],
    }


def _audience(report: AudienceReport) -> dict[str, Any]:
    # A variation of 0% is shown only if it was seen all the same.
    rows = [one for one in report.variations if one.impressions or one.expected_share]
    return {
        "name": report.name,
        "rows": rows,
        "seen": report.impressions + report.clicks,
        "enough": [one.unique_impressions >= LEAST_USERS for one in rows],
        "top": max(
            (one.high for one in rows if one.unique_impressions >= LEAST_USERS),
            default=1.0,
        ),
        "check": check_split(report),
    }


def _definition(audience: Audience) -> dict[str, Any]:
    return {
        "audience_id": audience.audience_id,
        "name": audience.name,
        "rules": list(_lines(audience.rules)),
        "variations": audience.variations,
    }


def _lines(rules: Iterable[Rule], depth: int = 0) -> Iterator[dict[str, Any]]:
    for rule in rules:
        yield {"text": text_of(rule), "depth": depth}
        if isinstance(rule, AllOf | AnyOf | NoneOf):
            yield from _lines(rule.rules, depth + 1)


def _b_ids(report: ExperienceReport) -> list[dict[str, Any]]:
    found = [
        {
            "b_id": b_id,
            "audience": audience.name,
            "variation_id": variation.variation_id,
            "clicks": clicks,
        }
        for audience in report.audiences
        for variation in audience.variations
        for b_id, clicks in variation.clicks_by_b_id.items()
    ]
    return sorted(found, key=lambda one: one["clicks"], reverse=True)


def _control(workspace: Workspace, experience: Experience) -> str:
    """Return the control groups in words; empty where there are none."""
    groups = [("its own", experience.control_group)]
    if experience.global_control_group:
        groups.append(("the global", workspace.control_group))
    held = [
        f"{group.percent:g}% in {owner} control group"
        for owner, group in groups
        if group.percent or group.customer_ids
    ]
    return f"Excluded before that: {' and '.join(held)}." if held else ""


def _in_words(schedule: Schedule | None) -> str:
    """Return the time in which an experience is active, in its own timezone."""
    if schedule is None:
        return ""
    zone = find_zone(schedule.timezone)
    parts = [
        f"{word} {words.moment(at, zone)}"
        for word, at in (("from", schedule.start_at), ("until", schedule.end_at))
        if at is not None
    ]
    return f"{' '.join(parts)}, {schedule.timezone}" if parts else ""
