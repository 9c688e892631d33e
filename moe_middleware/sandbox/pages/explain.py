"""What would this visitor get, and why: the question that every marketer asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ..api import ROOT
from ..fetches import DAYS, HOURS, parse_fetch
from ..leniencies import reading_of
from ..refusals import Refusal
from ..targeting import Explanation, Step, explain
from ..visitors import Visitor
from ..workspace import Audience, Experience, Workspace
from .addresses import address_of
from .calls import curl
from .rendering import Endpoint, render
from .visits import DEVICES, Asked, FormError, read_asked

if TYPE_CHECKING:
    from ..app import Sandbox

LABELS = {
    "served": "gets it",
    "no_match": "no audience fits",
    "control_group": "control group",
    "not_active": "not active",
    "withheld": "withheld",
}

_CUSTOMERS = 30


def explain_page(sandbox: Sandbox) -> Endpoint:
    """Return what shows who gets what."""

    async def show_explanation(request: Request) -> Response:
        asked, address = read_asked(request.query_params), address_of(request)
        try:
            visitor, document = _visitor(sandbox, asked)
        except (FormError, Refusal) as error:
            wrong = error.description if isinstance(error, Refusal) else str(error)
            build = lambda: _form(sandbox, asked) | {"wrong": wrong, "who": ""}  # noqa: E731
            return await render(sandbox, request, "explain.html", build, status=400)
        return await render(
            sandbox,
            request,
            "explain.html",
            lambda: (
                _form(sandbox, asked)
                | _build(sandbox, asked, visitor)
                | {"curl": curl(sandbox.workspace, f"{address}{ROOT}fetch", document)}
            ),
        )

    return show_explanation


def _visitor(sandbox: Sandbox, asked: Asked) -> tuple[Visitor, dict[str, Any]]:
    """Return the visitor whom a fetch with all that was filled in would be for."""
    document = asked.fetch_document()
    fetch = parse_fetch(document, reading_of(sandbox.workspace))
    visitor = sandbox.store.visitor(fetch)
    if pretended := asked.attributes_given():
        visitor = replace(
            visitor, attributes={**(visitor.attributes or {}), **pretended}
        )
    return visitor, document


def _form(sandbox: Sandbox, asked: Asked) -> dict[str, Any]:
    return {
        "asked": asked,
        "customers": sandbox.store.profiles(limit=_CUSTOMERS),
        "hours": HOURS,
        "days": DAYS,
        "devices": DEVICES,
        "wrong": "",
    }


def _build(sandbox: Sandbox, asked: Asked, visitor: Visitor) -> dict[str, Any]:

    workspace, now = sandbox.workspace, sandbox.clock()
    answers = [
        _answer(one, explain(workspace, one, visitor, now=now))
        for one in workspace.experiences
        if asked.experience in ("", one.key)
    ]
    return {
        "who": _who(asked, visitor),
        "profile": _profile(workspace, asked, visitor),
        "served": sum(one["outcome"] == "served" for one in answers),
        "answers": answers,
    }


def _who(asked: Asked, visitor: Visitor) -> str:
    if visitor.user_id:
        return visitor.user_id
    return "this visitor" if asked.changed else "an anonymous visitor"


def _profile(workspace: Workspace, asked: Asked, visitor: Visitor) -> str:
    """Return what is known of the visitor, for people."""
    if visitor.attributes is None:
        if asked.customer_id:
            return (
                f"Nobody knows {asked.customer_id}, so only audiences without user "
                "attributes can fit."
            )
        return "Nothing is known of an anonymous visitor but the session."
    if not visitor.attributes:
        return "The profile is empty."
    told = ", ".join(f"{name} {value}" for name, value in visitor.attributes.items())
    return f"Profile: {told}."


def _answer(experience: Experience, found: Explanation) -> dict[str, Any]:
    return {
        "key": experience.key,
        "name": experience.name,
        "outcome": found.outcome.value,
        "label": LABELS[found.outcome.value],
        "reason": found.reason,
        "steps": _steps(experience, found),
        "parts": _parts(found),
        "bucket": found.bucket,
        "payload": found.payload if found.outcome.value == "served" else None,
        "context": dict(found.context),
    }


def _steps(experience: Experience, found: Explanation) -> list[dict[str, Any]]:
    tried = {step.audience.audience_id: step for step in found.steps}
    if not tried:
        return []
    return [
        _step(audience, tried.get(audience.audience_id))
        for audience in experience.audiences
    ]


def _step(audience: Audience, step: Step | None) -> dict[str, Any]:
    if step is None:
        css, said = "skipped", "not tried: an earlier one fits"
    elif step.holds:
        css, said = "held", "fits" if step.checks else "fits: it takes everybody"
    else:
        css, said = "failed", "does not fit"
    return {
        "css": css,
        "said": said,
        "name": audience.name,
        "checks": step.checks if step else (),
    }


def _parts(found: Explanation) -> list[Mapping[str, Any]]:
    """Return the variations side by side, as the bucket's hand moves over them."""
    if found.audience is None or found.variation is None:
        return []
    variations = found.audience.variations
    ends = list(accumulate(one.percent for one in variations))
    return [
        {
            "variation_id": one.variation_id,
            "start": end - one.percent,
            "percent": one.percent,
            "chosen": one.variation_id == found.variation.variation_id,
        }
        for one, end in zip(variations, ends, strict=True)
    ]
