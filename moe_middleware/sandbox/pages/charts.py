"""Bars over time, as SVG without text, style or script. Pure.

Impressions and clicks are two charts with a scale each, above one axis of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..reports.activity import Activity
from ..reports.timelines import Bucket

WIDTH, HEIGHT = 1000.0, 100.0
"""The drawing's own units; a page stretches them to the room that there is."""

WIDEST_BAR = 22.0
"""Few buckets must not become slabs."""

PART_OF_SLOT = 0.72
"""How much of a bucket's room its bar takes; the rest is the gap."""

_STEPS = (1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)

_DAY = len("2026-01-31 ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The bars of one figure.

    Attributes:
        name: ``impressions`` or ``clicks``.
        svg: The drawing.
        top: The figure at its upper edge.
        total: The sum of all bars.
    """

    name: str
    svg: Markup
    top: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Two plots above one axis.

    Attributes:
        plots: Impressions and clicks.
        ticks: Labels for the axis: of the first, the middle and the last bucket.
        grain: What one bar covers, as in ``minute``.
        day: The one day of all buckets; empty where there are several.
        rows: The buckets in which anything happened, for the table.
    """

    plots: tuple[Plot, ...]
    ticks: tuple[str, ...]
    grain: str
    day: str
    rows: tuple[Bucket, ...]


def draw(activity: Activity) -> Chart | None:
    """Return the chart of what happened; None where nothing did."""
    buckets = activity.buckets
    if not buckets:
        return None
    days = {one.label[: _DAY - 1] for one in buckets}
    timed = len(buckets[0].label) > _DAY
    day = days.pop() if timed and len(days) == 1 else ""
    labels = [one.label[_DAY:] if day else one.label for one in buckets]
    impressions = [one.impressions for one in buckets]
    clicks = [one.clicks for one in buckets]
    return Chart(
        plots=(
            _plot("impressions", labels, impressions),
            _plot("clicks", labels, clicks),
        ),
        ticks=_ticks(labels),
        grain=activity.grain.value,
        day=day,
        rows=tuple(one for one in buckets if one.impressions or one.clicks),
    )


def round_up(highest: int) -> int:
    """Return a round number that is not below the highest."""
    unit = 1
    while highest > 10 * unit:
        unit *= 10
    return next(int(step * unit) for step in _STEPS if step * unit >= max(highest, 2))


def _plot(name: str, labels: Sequence[str], figures: Sequence[int]) -> Plot:
    top = round_up(max(figures))
    slot = WIDTH / len(figures)
    width = min(slot * PART_OF_SLOT, WIDEST_BAR)
    bars = Markup().join(
        Markup(
            '<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">'
            "<title>{}: {:,} {}</title></rect>"
        ).format(
            place * slot + (slot - width) / 2,
            HEIGHT - (height := HEIGHT * figure / top),
            width,
            height,
            label,
            figure,
            name if figure != 1 else name[:-1],
        )
        for place, (label, figure) in enumerate(zip(labels, figures, strict=True))
        if figure
    )
    svg = Markup(
        '<svg class="bars {}" viewBox="0 0 {:g} {:g}" preserveAspectRatio="none" '
        'aria-hidden="true" focusable="false">{}</svg>'
    ).format(name, WIDTH, HEIGHT, bars)
    return Plot(name=name, svg=svg, top=top, total=sum(figures))


def _ticks(labels: Sequence[str]) -> tuple[str, ...]:
    if len(labels) < 3:
        return tuple(labels)
    return labels[0], labels[len(labels) // 2], labels[-1]
