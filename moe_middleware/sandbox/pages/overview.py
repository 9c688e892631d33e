"""The page Overview: every experience with its figures, and the workspace over time."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from ..memory.state import State
from ..reports.reports import build_report
from ..workspace.schedules import Status
from .calls import sample_calls
from .ranges import chart_of
from .rendering import address_of


def overview(sandbox: State, request: Request) -> dict[str, Any]:
    """Return the values of the page."""
    workspace, now = sandbox.workspace, sandbox.clock()
    report = build_report(sandbox.store, workspace, now=now)
    return chart_of(sandbox, request) | {
        "report": report,
        "experiences": report.experiences,
        "active": sum(one.status == Status.ACTIVE for one in report.experiences),
        "fetches": sandbox.calls["fetch"],
        "leniencies": sandbox.leniencies.as_documents(),
        "first": sample_calls(workspace, address_of(request), now),
    }
