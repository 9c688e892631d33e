"""The chart of a page, over a range of time that its address names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from ..memory.state import State
from ..reports.activity import read_activity
from .charts import draw

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Range:
    """One range.

    Attributes:
        name: The value in a page's address; empty for the default.
        label: The text for people.
        seconds: Seconds back from now; None for all events.
    """

    name: str
    label: str
    seconds: float | None


RANGES = (
    Range("", "All", None),
    Range("hour", "Last hour", _HOUR),
    Range("day", "Last 24 hours", 24 * _HOUR),
    Range("week", "Last 7 days", 7 * 24 * _HOUR),
)


def chart_of(
    sandbox: State, request: Request, cid_token: str | None = None
) -> dict[str, Any]:
    """Return the values of a page's chart, of one experience or of all."""
    name = request.query_params.get("range", "")
    chosen = next((one for one in RANGES if one.name == name), RANGES[0])
    workspace = sandbox.workspace
    activity = read_activity(
        sandbox.store,
        workspace,
        now=sandbox.clock(),
        window=chosen.seconds,
        cid_token=cid_token,
    )
    return {
        "chart": draw(activity),
        "ranges": RANGES,
        "chosen": chosen,
        "zone": workspace.timezone,
    }
