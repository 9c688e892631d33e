"""The report for programs and spreadsheets: ``/_sandbox/report`` and ``.csv``.

The JSON has the fields of ``reports.Report``, down to each variation. Rates, shares and
probabilities are 0 to 1 in both; a missing one is null in JSON, and empty in CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..memory.state import State
from ..protocol.refusals import Refusal
from .reports import AudienceReport, ExperienceReport, Report, build_report
from .timelines import Bucket

COLUMNS = (
    *("level", "experience_key", "experience_name", "status"),
    *("audience_id", "audience_name", "variation_id", "b_id"),
    *("impressions", "unique_impressions", "clicks", "unique_clicks", "converted"),
    *("ctr", "low", "high", "chance_to_win", "share", "expected_share"),
)

DIGITS = 6
"""Decimals of a rate, share or probability in CSV."""

# Characters that make a spreadsheet take a text for a formula, also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def report_routes(sandbox: State) -> list[Route]:
    """Return the routes of the report; ``?experience_key=`` asks for one experience."""

    # Not async: Starlette runs them in a thread, so that the API stays responsive.
    def show_json(request: Request) -> Response:
        body = orjson.dumps(_report(sandbox, request), default=Bucket._asdict)
        return Response(body, media_type="application/json")

    def show_csv(request: Request) -> Response:
        return Response(
            report_csv(_report(sandbox, request)),
            media_type="text/csv",
            headers={
                "content-disposition": 'attachment; filename="sandbox-report.csv"'
            },
        )

    return [
        Route("/_sandbox/report", show_json, methods=["GET"]),
        Route("/_sandbox/report.csv", show_csv, methods=["GET"]),
    ]


def report_csv(report: Report) -> str:
    """Return a table with one line for each experience, audience, variation and b_id.

    ``level`` is the kind of a line: lines of different levels count the same events.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="")
    table.writeheader()
    everything = [*report.experiences, *([report.unknown] if report.unknown else [])]
    for experience in everything:
        for line in _experience_lines(experience):
            table.writerow({name: _cell(value) for name, value in line.items()})
    return text.getvalue()


def _report(sandbox: State, request: Request) -> Report:
    key = request.query_params.get("experience_key")
    try:
        return build_report(
            sandbox.store, sandbox.workspace, now=sandbox.clock(), experience_key=key
        )
    except KeyError as error:
        raise Refusal(404, "Not Found", "No experience has this key.") from error


def _experience_lines(experience: ExperienceReport) -> Iterator[dict[str, Any]]:
    place = {
        "experience_key": experience.key,
        "experience_name": experience.name,
        "status": experience.status,
    }
    yield {"level": "experience"} | place | _figures(experience)
    for audience in experience.audiences:
        for line in _audience_lines(audience):
            yield place | line


def _audience_lines(audience: AudienceReport) -> Iterator[dict[str, Any]]:
    place = {"audience_id": audience.audience_id, "audience_name": audience.name}
    yield {"level": "audience"} | place | _figures(audience)
    for variation in audience.variations:
        here = place | {"variation_id": variation.variation_id}
        yield {"level": "variation"} | here | _figures(variation)
        for b_id, clicks in variation.clicks_by_b_id.items():
            yield {"level": "b_id"} | here | {"b_id": b_id, "clicks": clicks}


def _figures(report: object) -> dict[str, Any]:
    names = {field.name for field in fields(report)}  # type: ignore[arg-type]
    figures = COLUMNS[COLUMNS.index("impressions") :]
    return {name: getattr(report, name) for name in figures if name in names}


def _cell(value: object) -> object:
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    if isinstance(value, float):
        # Sums of floats have rounding errors, as 0.025000000000000022.
        return round(value, DIGITS)
    return "" if value is None else value
