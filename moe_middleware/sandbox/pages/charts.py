"""Bars over time, as SVG without text, style or script. Pure.

Impressions and clicks are two charts, each with its own scale, above one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..reports.activity import Activity
from ..reports.timelines import Bucket

WIDTH, HEIGHT = 1000.0, 100.0
"""The drawing's own units; pages scale it to the available room."""

WIDEST_BAR = 22.0
"""The widest bar, so that few buckets do not become slabs."""

PART_OF_SLOT = 0.72
"""The share of a bucket's width that its bar takes."""

_STEPS = (1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)

_DAY = len("2026-01-31 ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The bars of one figure.

    Attributes:
        top: The value at its upper edge.
    """

    name: str
    svg: Markup
    top: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Two plots above one axis.

    Attributes:
        ticks: Labels of the axis, for the first, the middle and the last bucket.
        day: The day of all buckets; empty if there are several.
        rows: The buckets that are not empty, for the table.
    """

    plots: tuple[Plot, ...]
    ticks: tuple[str, ...]
    grain: str
    day: str
    rows: tuple[Bucket, ...]


def draw(activity: Activity) -> Chart | None:
    """Return the chart; None without any event."""
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
    """Return a round number at or above the highest value."""
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
