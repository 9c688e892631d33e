"""The fault switches: what goes wrong, and forms to change it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ..faults import PATHS, Fault, parse_fault_form
from .forms import read_form
from .rendering import Endpoint, go, render

if TYPE_CHECKING:
    from ..app import Sandbox

PRESETS: dict[str, tuple[str, Fault]] = {
    "outage": ("Every call answers 503", Fault(status=503, times=None)),
    "slow": ("Every fetch takes 2 s", Fault(path="fetch", latency=2.0, times=None)),
    "limit": ("The next fetch gets 429", Fault(path="fetch", status=429)),
    "lost": (
        "The next events call loses its answer",
        Fault(path="events", lose_response=True),
    ),
    "shaky": ("One call in five is dropped", Fault(drop=True, rate=0.2, seed=1)),
    "garbage": ("The next fetch answers garbage", Fault(path="fetch", garbage=True)),
}
"""What goes wrong most often in real life, one press each."""

_STATUSES = (400, 401, 404, 408, 413, 429, 500, 502, 503, 504)
_BUTTONS = ("add", "preset", "remove", "clear")


def faults_page(sandbox: Sandbox) -> Endpoint:
    """Return what shows the faults and changes them."""

    async def faults(request: Request) -> Response:
        if request.method != "POST":
            return await _show(sandbox, request)
        form = await read_form(request)
        try:
            _change(sandbox, form)
        except ValueError as error:
            return await _show(sandbox, request, form, str(error))
        return go(request, "faults")

    return faults


def _change(sandbox: Sandbox, form: Mapping[str, str]) -> None:
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
    sandbox: Sandbox,
    request: Request,
    form: Mapping[str, str] | None = None,
    wrong: str = "",
) -> Response:
    def build() -> dict[str, Any]:
        return {
            "faults": [_row(one) for one in sandbox.faults.as_documents()],
            "presets": [(name, label) for name, (label, _) in PRESETS.items()],
            "paths": [(one, "all three" if one == "*" else one) for one in PATHS[::-1]],
            "statuses": [(str(code), HTTPStatus(code).phrase) for code in _STATUSES],
            "form": form or {},
            "wrong": wrong,
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
    """Return what a fault does, for people."""
    parts = []
    if fault["latency"] or fault["jitter"]:
        wait = f"waits {fault['latency']:g} s"
        if fault["jitter"]:
            wait += f" and up to {fault['jitter']:g} s more"
        parts.append(wait)
    if fault["drop"]:
        parts.append("drops the connection")
    if fault["lose_response"]:
        parts.append("is carried out, its answer lost")
    if fault["status"]:
        parts.append(f"answers {fault['status']}")
    if fault["garbage"]:
        parts.append("answers garbage")
    if fault["drip"]:
        parts.append(f"drips {fault['drip']:g} bytes a second")
    if fault["rate"] < 1:
        parts.append(f"in {fault['rate'] * 100:g} of 100 calls")
    return ", ".join(parts)
