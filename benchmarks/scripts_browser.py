"""What the script costs in a real browser: the same page with and without it.

Playwright listens to every request, which costs both pages the same.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, CDPSession, Page, async_playwright

from moe_middleware import SQLiteOutbox

from .effort import FULL, Effort
from .ratios import Comparison, Figure, Note, Row, spread
from .scripts_site import ELEMENTS, NOTHING, elements
from .servers import server
from .shop import USER_AGENT, WARM_VISITORS

ROUNDS = 7
USUAL = 25
"""Elements of the page that is looked at more closely: each of them is clicked."""

PATIENCE = 60.0
"""Seconds to wait for events that must arrive."""

ARGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic")

SETTLED_AFTER = 0.05
"""How long after its load event a page has done what it does at once, in seconds."""

LOADS = 3
"""Of a page, in one visit."""

IN_SIGHT_FOR = 1.2
"""In seconds: longer than an element is to be seen until it counts."""

PLAIN, MARKED = "plain", "marked"
COLD, WARM = "cold", "warm"

FIRST_BYTE, PARSED, LOAD = "first byte", "DOMContentLoaded", "load event"
TASKS, CPU = "main thread at work", "main thread's CPU"
SCRIPTS, LAYOUT = "  its scripts", "  its layout and styles"
HEAP, REQUESTS = "JS heap", "requests that reach the server"
SIGHT = "a second and more in sight, main thread's CPU"
CLICK, CLICK_CPU = "one click, main thread at work", "one click, main thread's CPU"
CLICK_SCRIPTS = "  the script's part"
NO_LOAD = (SIGHT, CLICK, CLICK_CPU, CLICK_SCRIPTS)

UNITS = {
    **dict.fromkeys((FIRST_BYTE, PARSED, LOAD, TASKS, CPU, SCRIPTS, LAYOUT), "ms"),
    HEAP: "kB",
    REQUESTS: "",
    SIGHT: "ms",
    **dict.fromkeys((CLICK, CLICK_CPU, CLICK_SCRIPTS), "us"),
}

SHOWN = {
    COLD: (LOAD, TASKS, CPU),
    WARM: (FIRST_BYTE, PARSED, LOAD, TASKS, CPU, SCRIPTS),
}
"""Of every page; of the usual one all is."""

_TIMES = """\
(() => {
  const [page] = performance.getEntriesByType("navigation");
  const others = performance.getEntriesByType("resource")
    .filter(one => !one.name.endsWith("/favicon.ico"));
  return [page.responseStart - page.requestStart, page.domContentLoadedEventEnd,
    page.loadEventEnd, 1 + others.filter(one => one.transferSize).length];
})()"""
_PLACES = """\
[...document.querySelectorAll("button")].map(one => one.getBoundingClientRect())
  .map(box => [box.x + box.width / 2, box.y + box.height / 2])"""


def chromium_path() -> str | None:
    """Return the path of Chromium: ``CHROMIUM``, or the one on the PATH, or None."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


async def scripts_browser(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Compare a page with marked elements and the script with one without either."""
    path = chromium_path()
    if path is None:
        yield Note(text="left out: no Chromium is on the PATH")
        return
    rounds = effort.rounds_of(ROUNDS)
    async with server("scripts", directory) as port, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=[*ARGS])
        with closing(SQLiteOutbox(str(directory / "outbox.db"))) as outbox:
            counted = _Counted(outbox)
            site = _Site(browser, f"http://127.0.0.1:{port}", counted)
            for count in (USUAL,) if effort.quick else ELEMENTS:
                seen: dict[str, _Seen] = {PLAIN: _Seen(), MARKED: _Seen()}
                order = [*seen]
                # The first round warms up, as in every measurement.
                for number in range(rounds + 1):
                    for kind in order:
                        into = seen[kind] if number else _Seen()
                        await site.visit(kind, count, into)
                    order.reverse()
                for row in _rows(count, seen[MARKED], seen[PLAIN]):
                    yield row


@dataclass(slots=True)
class _Seen:
    """The figures of one kind of page, each by its name and its state of the cache."""

    figures: defaultdict[tuple[str, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def note(self, name: str, value: float, cache: str = WARM) -> None:
        self.figures[name, cache].append(value)


def _rows(count: int, marked: _Seen, plain: _Seen) -> Iterator[Row]:
    yield Note(text=f"a page with {count} marked, and the script; beside it without")
    for (name, cache), ours in marked.figures.items():
        if count != USUAL and name not in SHOWN[cache]:
            continue
        rival, unit = plain.figures[name, cache], UNITS[name]
        what = name if name in NO_LOAD else f"{name}, {cache}"
        if min(rival) > 0:
            yield Comparison(what=what, unit=unit, ours=ours, rival=rival)
        else:
            # A page without scripts spends nothing on them: there is no ratio.
            yield Figure(what=what, text=spread(ours, unit))


@dataclass(slots=True)
class _Site:
    """The site, and a browser that visits it.

    Attributes:
        browser: Each visitor gets a context of its own, with empty caches.
        url: The site's.
        counted: Knows the events that are to come of it.
        visitors: Numbers of known visitors.
    """

    browser: Browser
    url: str
    counted: _Counted
    visitors: Iterator[int] = field(
        default_factory=lambda: itertools.cycle(range(WARM_VISITORS))
    )

    async def visit(self, kind: str, count: int, seen: _Seen) -> None:
        """Load a page until its script is kept; note the first and the last load."""
        context = await self.browser.new_context(user_agent=USER_AGENT)
        visitor = f"customer-{next(self.visitors)}"
        await context.add_cookies(
            [{"name": "customer_id", "value": visitor, "url": self.url}]
        )
        page = await context.new_page()
        tools = await context.new_cdp_session(page)
        await tools.send("Performance.enable")
        await self._load(page, tools, kind, count, seen, COLD)
        # Chromium compiles for later what it meets for the second time.
        await self._load(page, tools, kind, count, _Seen(), WARM)
        await self._load(page, tools, kind, count, seen, WARM)
        if kind == PLAIN:
            await self.counted.reaches(LOADS)
        if count == USUAL:
            await _look_and_click(page, tools, seen)
            # All that came into sight has one impression together.
            await self.counted.reaches(1 + count if kind == MARKED else 0)
        await context.close()

    async def _load(
        self,
        page: Page,
        tools: CDPSession,
        kind: str,
        count: int,
        seen: _Seen,
        cache: str,
    ) -> None:
        # The process that shows it is there already, and was busy with nothing.
        await page.goto(f"{self.url}{NOTHING}")
        await page.goto(f"{self.url}{elements(kind, count)}")
        await asyncio.sleep(SETTLED_AFTER)
        # They began anew when the page did.
        spent = await _metrics(tools)
        first_byte, parsed, load, requests = await page.evaluate(_TIMES)
        await tools.send("HeapProfiler.collectGarbage")
        heap = (await _metrics(tools))["JSHeapUsedSize"]
        layout = spent["LayoutDuration"] + spent["RecalcStyleDuration"]
        for name, value in (
            (FIRST_BYTE, first_byte),
            (PARSED, parsed),
            (LOAD, load),
            (TASKS, spent["TaskDuration"] * 1e3),
            (CPU, spent["ThreadTime"] * 1e3),
            (SCRIPTS, spent["ScriptDuration"] * 1e3),
            (LAYOUT, layout * 1e3),
            (HEAP, heap / 1e3),
            (REQUESTS, requests),
        ):
            # The page before may be left in a warm one's heap.
            if name != HEAP or cache == COLD:
                seen.note(name, value, cache)


async def _metrics(tools: CDPSession) -> dict[str, float]:
    """Return the page's use of resources since it began, times in seconds."""
    answer = await tools.send("Performance.getMetrics")
    return {one["name"]: one["value"] for one in answer["metrics"]}


async def _look_and_click(page: Page, tools: CDPSession, seen: _Seen) -> None:
    """Note what a second in sight costs, and what a click on each element does."""
    before = await _metrics(tools)
    await asyncio.sleep(IN_SIGHT_FOR)
    after = await _metrics(tools)
    seen.note(SIGHT, (after["ThreadTime"] - before["ThreadTime"]) * 1e3)
    places = await page.evaluate(_PLACES)
    before = await _metrics(tools)
    for x, y in places:
        await page.mouse.click(x, y)
    after = await _metrics(tools)
    for name, metric in (
        (CLICK, "TaskDuration"),
        (CLICK_CPU, "ThreadTime"),
        (CLICK_SCRIPTS, "ScriptDuration"),
    ):
        seen.note(name, (after[metric] - before[metric]) / len(places) * 1e6)


class _Counted:
    """Sees that the figures are those of pages, sights and clicks that count.

    Args:
        outbox: The site's.
    """

    def __init__(self, outbox: SQLiteOutbox) -> None:
        self._outbox = outbox
        self._wanted = 0

    async def reaches(self, more: int) -> None:
        """Wait until so many more events are there: beacons take their time."""
        self._wanted += more
        counted = 0
        try:
            async with asyncio.timeout(PATIENCE):
                while counted < self._wanted:
                    await asyncio.sleep(0.02)
                    counted = (await self._outbox.count()).waiting
        except TimeoutError:
            raise RuntimeError(f"{counted} events of {self._wanted} counted") from None
