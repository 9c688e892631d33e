"""What was counted, cell by cell: by a script, and by the sandbox's reports. Pure."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from moe_middleware import Action

Cell = tuple[str, ...]
"""Experience, audience and variation as far as they are given, and then the figure."""

Cells = dict[Cell, int]
"""Those that are not 0."""

FIGURES = ("impressions", "unique_impressions", "clicks", "unique_clicks", "converted")

_LEVELS = ("experience", "audience", "variation", "b_id")


class Variation(NamedTuple):
    """One variation of one audience of one experience."""

    experience_key: str
    audience_id: str
    variation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One thing that counts."""

    action: Action
    variation: Variation
    customer_id: str
    b_id: str | None = None


def cells_of_script(counted: Iterable[Counted]) -> Cells:
    """Return what the sandbox should report."""
    people: dict[tuple[Cell, Action], Counter[str]] = defaultdict(Counter)
    b_ids: Counter[Cell] = Counter()
    for one in counted:
        for depth in range(4):
            people[one.variation[:depth], one.action][one.customer_id] += 1
        if one.b_id is not None:
            b_ids[(*one.variation, _of_b_id(one.b_id))] += 1
    cells: Cells = dict(b_ids)
    for (place, action), customers in people.items():
        cells[(*place, f"{action}s")] = customers.total()
        if place:
            cells[(*place, f"unique_{action}s")] = len(customers)
        if len(place) == 3 and action is Action.CLICK:
            saw = people[place, Action.IMPRESSION]
            cells[(*place, "converted")] = len(customers.keys() & saw.keys())
    return {cell: count for cell, count in cells.items() if count}


def cells_of_report(report: Mapping[str, Any]) -> Cells:
    """Return what ``/_sandbox/report`` says, the unknown experiences included."""
    everything = {name: report[name] for name in ("impressions", "clicks")}
    cells = _figures((), everything)
    unknown = [report["unknown"]] if report["unknown"] else []
    for experience in [*report["experiences"], *unknown]:
        key = experience["key"]
        cells |= _figures((key,), experience)
        for audience in experience["audiences"]:
            audience_id = audience["audience_id"]
            cells |= _figures((key, audience_id), audience)
            for variation in audience["variations"]:
                place = (key, audience_id, variation["variation_id"])
                cells |= _figures(place, variation)
                for b_id, clicks in variation["clicks_by_b_id"].items():
                    cells[(*place, _of_b_id(b_id))] = clicks
    return cells


def cells_of_table(table: str) -> Cells:
    """Return what ``/_sandbox/report.csv`` says."""
    cells: Cells = {}
    for row in csv.DictReader(io.StringIO(table)):
        depth = _LEVELS.index(row["level"]) + 1
        ids = (row["experience_key"], row["audience_id"], row["variation_id"])
        if row["level"] == "b_id":
            # An apostrophe keeps a spreadsheet from taking a text for a formula.
            b_id = row["b_id"].removeprefix("'")
            cells[(*ids, _of_b_id(b_id))] = int(row["clicks"])
        else:
            cells |= _figures(ids[:depth], row)
    return cells


def differences(script: Cells, report: Cells) -> list[str]:
    """Return a line for each cell that is not the same on both sides."""
    return [
        f"{' / '.join(cell[:-1]) or 'everything'}: {cell[-1]}: the script counts "
        f"{script.get(cell, 0)}, the report {report.get(cell, 0)} "
        f"({report.get(cell, 0) - script.get(cell, 0):+})"
        for cell in sorted(script.keys() | report.keys())
        if script.get(cell, 0) != report.get(cell, 0)
    ]


def _figures(place: Cell, report: Mapping[str, Any]) -> Cells:
    counts = {(*place, name): int(report.get(name) or 0) for name in FIGURES}
    return {cell: count for cell, count in counts.items() if count}


def _of_b_id(b_id: str) -> str:
    return f"clicks of {b_id!r}"
