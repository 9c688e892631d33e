"""The page Faults: the active faults, and forms to change them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..memory.state import State
from ..workspace.faults import PATHS, Fault, FaultError, parse_fault_form
from .rendering import Endpoint, go, read_form, render

PRESETS: dict[str, tuple[str, Fault]] = {
    "outage": ("Every call returns 503", Fault(status=503, times=None)),
    "slow": ("Every fetch takes 2 s", Fault(path="fetch", latency=2.0, times=None)),
    "limit": ("The next fetch gets 429", Fault(path="fetch", status=429)),
    "lost": (
        "The next events call loses its response",
        Fault(path="events", lose_response=True),
    ),
    "shaky": ("One call in five is dropped", Fault(drop=True, rate=0.2, seed=1)),
    "garbage": ("The next fetch returns garbage", Fault(path="fetch", garbage=True)),
}
"""The most common failures, each by one button."""

_WORDS = {
    "path": "Choose an endpoint from the list.",
    "status": "Choose a status from the list.",
    "latency": "Enter seconds, 0 to 3600.",
    "jitter": "Enter seconds, 0 to 3600.",
    "times": "Enter a whole number, 1 or more, or all.",
    "rate": "Enter a share above 0, up to 1, as in 0.25.",
    "seed": "Enter a whole number.",
    "drip": "Enter bytes per second, 1 or more.",
    "": "Choose at least one effect: a status, a delay, a slow body or a tick.",
}
"""The messages for mistakes, by field of the form."""


_STATUSES = (400, 401, 404, 408, 413, 429, 500, 502, 503, 504)
_BUTTONS = ("add", "preset", "remove", "clear")


def faults_page(sandbox: State) -> Endpoint:
    """Return the endpoints that show and change faults."""

    async def faults(request: Request) -> Response:
        if request.method != "POST":
            return await _show(sandbox, request)
        form = await read_form(request)
        try:
            _change(sandbox, form)
        except FaultError as error:
            wrong = {_place(name): _WORDS[_place(name)] for name in error.mistakes}
            return await _show(sandbox, request, form, wrong)
        except ValueError as error:
            return await _show(sandbox, request, form, {"form": str(error)})
        return go(request, "faults")

    return faults


def _place(field: str) -> str:
    """Return the field beside which a mistake is shown: ticks share one place."""
    return field if field in _WORDS else ""


def _change(sandbox: State, form: Mapping[str, str]) -> None:
    if "clear" in form:
        sandbox.faults.clear()
    elif "remove" in form:
        sandbox.faults.remove(int(form["remove"]))
    elif preset := PRESETS.get(form.get("preset", "")):
        sandbox.faults.add(preset[1])
    else:
        pairs = [(k, v.strip()) for k, v in form.items() if k not in _BUTTONS]
        sandbox.faults.add(parse_fault_form(pairs))


async def _show(
    sandbox: State,
    request: Request,
    form: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    def build() -> dict[str, Any]:
        return {
            "faults": [_row(one) for one in sandbox.faults.as_documents()],
            "presets": [(name, label) for name, (label, _) in PRESETS.items()],
            "paths": [(one, "all" if one == "*" else one) for one in PATHS[::-1]],
            "statuses": [(str(code), HTTPStatus(code).phrase) for code in _STATUSES],
            "form": form or {},
            "wrong": wrong or {},
        }

    return await render(
        sandbox, request, "faults.html", build, status=400 if wrong else 200
    )


def _row(document: Mapping[str, Any]) -> dict[str, Any]:
    left, rate = document["times"], document["rate"]
    return {
        "id": document["id"],
        "path": "all" if document["path"] == "*" else document["path"],
        "what": in_words(document),
        "left": "all" if left is None else f"{left:,}",
        "rate": rate,
    }


def in_words(fault: Mapping[str, Any]) -> str:
    """Return the effect of a fault in words."""
    parts = []
    if fault["latency"] or fault["jitter"]:
        wait = f"waits {fault['latency']:g} s"
        if fault["jitter"]:
            wait += f", plus up to {fault['jitter']:g} s at random"
        parts.append(wait)
    if fault["drop"]:
        parts.append("drops the connection")
    if fault["lose_response"]:
        parts.append("is processed, then drops the response")
    if fault["status"]:
        parts.append(f"returns {fault['status']}")
    if fault["garbage"]:
        parts.append("returns garbage")
    if fault["drip"]:
        parts.append(f"sends {fault['drip']:g} bytes per second")
    if fault["rate"] < 1:
        parts.append(f"for {fault['rate'] * 100:g}% of the calls")
    return ", ".join(parts)
