"""The page Explain: what a visitor gets, and why, rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ..decisions.explanations import Step
from ..decisions.targeting import Explanation, explain
from ..decisions.visitors import DAY, HOUR, IP_ADDRESS, USER_AGENT, Visitor
from ..memory.state import State
from ..protocol.endpoints import ROOT
from ..protocol.fetches import parse_fetch
from ..protocol.leniencies import reading_of
from ..protocol.refusals import Refusal
from ..workspace.rules import DAYS, HOURS
from ..workspace.workspace import Audience, Experience, Workspace
from .calls import curl
from .rendering import Endpoint, address_of, links_of, render
from .visits import DEVICES, FormError, VisitForm, read_visit_form

LABELS = {
    "served": "gets it",
    "no_match": "no audience matches",
    "control_group": "control group",
    "not_active": "not active",
    "withheld": "withheld",
}

_CUSTOMERS = 30
_FIELDS = {DAY: "day", HOUR: "hour", IP_ADDRESS: "ip", USER_AGENT: "user_agent"} | {
    "user_identifiers": "identifiers"
}


def explain_page(sandbox: State) -> Endpoint:
    """Return the page's endpoint."""

    async def show_explanation(request: Request) -> Response:
        form = read_visit_form(request.query_params.multi_items())
        address = address_of(request)
        try:
            visitor, document = _visitor(sandbox, form)
        except (FormError, Refusal) as error:
            wrong = error.description if isinstance(error, Refusal) else str(error)
            failure = {"wrong": wrong, "who": "", "wrong_field": _field_of(error)}
            build = lambda: _form(sandbox, form) | failure  # noqa: E731
            return await render(sandbox, request, "explain.html", build, status=400)
        return await render(
            sandbox,
            request,
            "explain.html",
            lambda: (
                _form(sandbox, form)
                | _build(sandbox, form, visitor)
                | {"curl": curl(sandbox.workspace, f"{address}{ROOT}fetch", document)}
                | {"json": links_of(request)("_sandbox/explain", **asdict(form))}
            ),
        )

    return show_explanation


def explain_json(sandbox: State) -> Callable[[Request], Response]:
    """Return the JSON endpoint of the explanation; it takes the form's fields."""

    # Not async: Starlette runs it in a thread, so that the API stays responsive.
    def show_json(request: Request) -> Response:
        form = read_visit_form(request.query_params.multi_items())
        return Response(
            orjson.dumps(explanation(sandbox, form), default=str),
            media_type="application/json",
        )

    return show_json


def explanation(sandbox: State, form: VisitForm) -> dict[str, Any]:
    """Return what a visitor gets, and why, as JSON.

    Raises:
        Refusal: A field is malformed, or the key is unknown.
    """
    try:
        visitor, _ = _visitor(sandbox, form)
    except FormError as error:
        raise Refusal(400, f"Bad {error.field}", str(error)) from error
    workspace, now = sandbox.workspace, sandbox.clock()
    wanted = [one for one in workspace.experiences if form.experience in ("", one.key)]
    if form.experience and not wanted:
        raise Refusal(404, "Not Found", "No experience has this key.")
    return {
        "visitor": {
            "id": visitor.user_id,
            "known": visitor.attributes is not None,
            "attributes": dict(visitor.attributes or {}),
            "session": dict(visitor.session),
        },
        "experiences": [
            _document(one, explain(workspace, one, visitor, now=now)) for one in wanted
        ],
    }


def _document(experience: Experience, found: Explanation) -> dict[str, Any]:
    return {
        "experience_key": experience.key,
        "experience_name": experience.name,
        "outcome": found.outcome.value,
        "reason": found.reason,
        "audience": found.audience.name if found.audience else None,
        "variation_id": found.variation.variation_id if found.variation else None,
        "bucket": found.bucket,
        "payload": {name: one.value for name, one in found.payload.items()},
        "experience_context": dict(found.context),
        "audiences": [
            {
                "name": step.audience.name,
                "matches": step.holds,
                "rules": [
                    {
                        "rule": check.text,
                        "visitor": check.given,
                        "holds": check.holds,
                        "depth": check.depth,
                    }
                    for check in step.checks
                ],
            }
            for step in found.steps
        ],
    }


def _visitor(sandbox: State, form: VisitForm) -> tuple[Visitor, dict[str, Any]]:
    """Return the visitor of a fetch with the form's fields, and that fetch."""
    document = form.fetch_document()
    fetch = parse_fetch(document, reading_of(sandbox.workspace))
    visitor = sandbox.store.visitor(fetch)
    # With attributes, an unknown visitor is treated as a known customer.
    if pretended := form.attributes_given():
        visitor = replace(
            visitor, attributes={**(visitor.attributes or {}), **pretended}
        )
    return visitor, document


def _form(sandbox: State, form: VisitForm) -> dict[str, Any]:
    return {
        "form": form,
        "customers": sandbox.store.profiles(limit=_CUSTOMERS),
        "hours": HOURS,
        "days": DAYS,
        "devices": DEVICES,
        "wrong": "",
        "wrong_field": "",
    }


def _field_of(error: FormError | Refusal) -> str:
    """Return the form's field of an error; empty for none."""
    if isinstance(error, FormError):
        return error.field
    # A refusal names the API's field; the form has shorter names.
    return next(
        (field for name, field in _FIELDS.items() if name in error.description), ""
    )


def _build(sandbox: State, form: VisitForm, visitor: Visitor) -> dict[str, Any]:
    workspace, now = sandbox.workspace, sandbox.clock()
    answers = [
        _answer(one, explain(workspace, one, visitor, now=now))
        for one in workspace.experiences
        if form.experience in ("", one.key)
    ]
    return {
        "who": _who(form, visitor),
        "profile": _profile(workspace, form, visitor),
        "served": sum(one["outcome"] == "served" for one in answers),
        "answers": answers,
    }


def _who(form: VisitForm, visitor: Visitor) -> str:
    if visitor.user_id:
        return visitor.user_id
    return "this visitor" if form.changed else "an anonymous visitor"


def _profile(workspace: Workspace, form: VisitForm, visitor: Visitor) -> str:
    """Return the visitor's profile in a sentence."""
    if visitor.attributes is None:
        if form.customer_id:
            return (
                f"{form.customer_id} is not a known customer: only audiences without "
                "user attributes can match."
            )
        return "An anonymous visitor has no profile: only the session can match."
    if not visitor.attributes:
        return "The profile is empty."
    attributes = ", ".join(
        f"{name} {value}" for name, value in visitor.attributes.items()
    )
    return f"Profile: {attributes}."


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
        css, verdict = "skipped", "not tried: an earlier audience matches"
    elif step.holds:
        css, verdict = "held", "matches" if step.checks else "matches all users"
    else:
        css, verdict = "failed", "does not match"
    return {
        "css": css,
        "verdict": verdict,
        "name": audience.name,
        "checks": step.checks if step else (),
    }


def _parts(found: Explanation) -> list[Mapping[str, Any]]:
    """Return the variations in a row, with the buckets of each."""
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
