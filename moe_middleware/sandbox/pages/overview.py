"""The page Overview: every experience with its figures, and the workspace over time."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from ..memory.state import State
from ..reports.activity import read_activity
from ..reports.reports import build_report
from ..workspace.schedules import Status
from .addresses import address_of
from .calls import sample_calls
from .charts import draw
from .ranges import RANGES, find_range


def overview(sandbox: State, request: Request) -> dict[str, Any]:
    """Return the values of the page."""
    chosen = find_range(request)
    workspace, now = sandbox.workspace, sandbox.clock()
    report = build_report(sandbox.store, workspace, now=now)
    return {
        "report": report,
        "experiences": report.experiences,
        "active": sum(one.status == Status.ACTIVE for one in report.experiences),
        "chart": draw(
            read_activity(sandbox.store, workspace, now=now, window=chosen.seconds)
        ),
        "ranges": RANGES,
        "chosen": chosen,
        "fetches": sandbox.calls["fetch"],
        "leniencies": sandbox.leniencies.as_documents(),
        "zone": workspace.timezone,
        "first": sample_calls(workspace, address_of(request), now),
    }
