"""A chart of a plan, as an SVG file for light and dark screens. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import ceil, log10

from .plan import Plan

WIDTH, HEIGHT = 760, 556
LEFT, RIGHT = 84, 736
TOP, BOTTOM = 84, 300
PARTS = 388
ROW = 30

STYLE = """
svg { --back: #ffffff; --text: #1f2933; --faint: #616e7c; --line: #d9e2ec;
  --made: #00796b; --lost: #c62828; --limit: #7b341e;
  font: 13px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --back: #14181d; --text: #e4e7eb; --faint: #9aa5b1; --line: #323f4b;
    --made: #4db6ac; --lost: #ef9a9a; --limit: #f6ad55; } }
text { fill: var(--text); } .faint { fill: var(--faint); } .end { text-anchor: end; }
.title { font-size: 16px; font-weight: 600; } .back { fill: var(--back); }
.made { fill: var(--made); } .lost { fill: var(--lost); } .track { fill: var(--line); }
.grid { stroke: var(--line); } .limit { stroke: var(--limit); stroke-width: 2;
  stroke-dasharray: 6 4; } .of-limit { fill: var(--limit); }
"""


def svg(plan: Plan) -> str:
    """Return the chart: the fetches of each minute, and what is used of each part."""
    what = (
        f"{plan.traffic.visitors:,} visitors a day on {plan.setup.all_processes:,} "
        f"processes, ttl {plan.setup.ttl:g} s"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title">',
            f'<title id="title">{escape(f"Fetches a minute: {what}")}</title>',
            f"<style>{STYLE}</style>",
            f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
            _text(24, 32, "Fetches a minute in the busiest time", "title"),
            _text(24, 54, what, "faint"),
            *_minutes(plan),
            _text(24, PARTS - 22, "What the busiest minute uses of each part", "title"),
            *_parts(plan),
            "</svg>\n",
        ]
    )


def _minutes(plan: Plan) -> Iterator[str]:
    made = [minute.fetches for minute in plan.simulated.minutes]
    wanted = [minute.wanted for minute in plan.unbounded.minutes]
    limit = plan.setup.limit
    top = max(*wanted, 1)
    # A limit far above all bars would flatten them.
    shows_limit = limit < 4 * top
    step = _step(max(top, limit) if shows_limit else top)
    most = step * ceil((max(top, limit) if shows_limit else top) / step)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * value / most

    for value in range(0, most + 1, step):
        yield f'<path class="grid" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>'
        yield _text(LEFT - 8, y(value) + 4, f"{value:,}", "faint end")
    width = (RIGHT - LEFT) / len(wanted)
    for number, (of_all, of_made) in enumerate(zip(wanted, made, strict=True)):
        x = LEFT + number * width
        # Two runs, drawn one over the other: chance may put the bounded one on top.
        of_made = min(of_all, of_made)
        yield _bar("made", x, y(of_made), width * 0.8, BOTTOM - y(of_made))
        if of_all > of_made:
            yield _bar("lost", x, y(of_all), width * 0.8, y(of_made) - y(of_all))
    for number in range(0, len(wanted), 10):
        yield _text(LEFT + number * width, BOTTOM + 20, f"{number} min", "faint")
    if shows_limit:
        yield f'<path class="limit" d="M{LEFT} {y(limit):.1f}H{RIGHT}"/>'
        yield _text(RIGHT, y(limit) - 6, f"the quota: {limit:,}", "of-limit end")
    else:
        yield _text(RIGHT, 54, f"the quota, {limit:,}, is far above", "faint end")
    if any(minute.fallbacks for minute in plan.simulated.minutes):
        yield _bar("lost", RIGHT - 238, 22, 12, 12)
        yield _text(RIGHT, 32, "not made: pages show fallbacks", "faint end")


def _parts(plan: Plan) -> Iterator[str]:
    begin, end = 152, 620
    for number, part in enumerate(plan.parts):
        y = PARTS + number * ROW
        kind = "lost" if part.share > 1 else "made"
        used = max(1.0, (end - begin) * min(1.0, part.share))
        yield _text(24, y + 13, part.name, "")
        yield _bar("track", begin, y, end - begin, 18)
        yield _bar(kind, begin, y, used, 18)
        yield _text(RIGHT, y + 13, f"{100 * part.share:,.1f} %", "end")


def _step(top: float) -> int:
    """Return a round number that divides an axis into two to five steps."""
    size = 10 ** int(log10(max(top, 1)))
    fitting = (size * part for part in (1, 0.5, 0.2) if top / (size * part) >= 2)
    return max(1, int(next(fitting, 1)))


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"/>'
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
