"""Charts as SVG, drawn on the server by pygal and coloured by our own style sheet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markupsafe import Markup

_WIDTH, _HEIGHT = 1000, 250
_NAMES = ("impressions", "clicks")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and what stands around it.

    Attributes:
        svg: The drawing, without text, script, style or link; None where pygal is
            not installed.
        top: What the upper edge stands for.
        points: The figures themselves, for the table beside the drawing.
    """

    svg: Markup | None
    top: int
    points: Sequence[tuple[str, int, int]]


def draw_over_time(points: Sequence[tuple[str, int, int]]) -> Chart:
    """Return a chart of impressions and clicks, one pair of bars for each moment.

    Args:
        points: Label, impressions, clicks, oldest first.
    """
    top = round_up(max((max(point[1:]) for point in points), default=1))
    try:
        import pygal  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        if error.name != "pygal":
            raise
        return Chart(None, top, points)
    # pygal leaves a finder of a kind that Python 3.11 warns about at every import of
    # what is not there; it is for plugins with maps.
    sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__ != "pygal"]
    return Chart(_draw(pygal.Bar, top, tuple(points)), top, points)


def round_up(highest: int) -> int:
    """Return a round number that is not below the highest, and even."""
    unit = 1
    while highest > 10 * unit:
        unit *= 10
    return next(step * unit for step in (2, 4, 6, 8, 10) if step * unit >= highest)


# A page that nothing new came to is asked for again and again.
@lru_cache(maxsize=64)
def _draw(bar: Any, top: int, points: tuple[tuple[str, int, int], ...]) -> Markup:
    drawing = bar(
        width=_WIDTH,
        height=_HEIGHT,
        range=(0, top),
        margin=0,
        spacing=0,
        show_legend=False,
        show_x_labels=False,
        show_y_labels=False,
        disable_xml_declaration=True,
        formatter=str,
        js=[],
        css=[],
    )
    drawing.x_labels = [label for label, _, _ in points]
    for name, column in zip(_NAMES, (1, 2), strict=True):
        drawing.add(name, [point[column] for point in points])
    drawing.add_xml_filter(_strip)
    # pygal escapes what it prints; the labels are times of our own making anyway.
    return Markup(drawing.render(is_unicode=True))


def _strip(root: Any) -> Any:
    """Leave the bars alone: script, style and text are not for us."""
    bars = [one for one in root.iter() if one.get("class") == "bars"]
    for series, name in zip(bars, _NAMES, strict=False):
        series.set("class", f"bars {name}")
        for bar in series:
            _strip_bar(bar, name)
    for child in list(root):
        root.remove(child)
    root.extend(bars)
    for name in ("id", "class", "width", "height"):
        root.attrib.pop(name, None)
    # pygal leaves a margin of its own above and below, even where told to leave none.
    margin = (_HEIGHT - _HEIGHT / 1.04) / 2
    root.set("viewBox", f"0 {margin:.3f} {_WIDTH} {_HEIGHT / 1.04:.3f}")
    root.set("preserveAspectRatio", "none")
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return root


def _strip_bar(bar: Any, name: str) -> None:
    said = {one.get("class"): one.text for one in bar if one.get("class")}
    for one in list(bar):
        if one.tag.endswith("desc"):
            bar.remove(one)
    for one in bar:
        one.attrib.pop("class", None)
        tip = one.makeelement("title", {})
        tip.text = f"{said.get('x_label', '')}: {said.get('value', '')} {name}"
        one.append(tip)
