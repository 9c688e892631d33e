"""What the script costs in a real browser: the same page with and without it.

Playwright listens to every request, which costs both pages the same.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path

from playwright.async_api import Browser, CDPSession, Page, async_playwright

from moe_middleware import SQLiteOutbox

from .effort import Effort
from .ratios import Comparison, Figure, Note, Row, spread
from .scripts_site import NOTHING, elements
from .servers import server
from .shop import USER_AGENT, WARM_VISITORS

ROUNDS = 7
COUNT = 25
"""Elements of the page: each of them is clicked."""

PATIENCE = 60.0
"""Seconds to wait for events that must arrive."""

ARGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic")

SETTLED_AFTER = 0.05
"""How long after its load event a page has done what it does at once, in seconds."""

IN_SIGHT_FOR = 1.2
"""In seconds: longer than an element is to be seen until it counts."""

PLAIN, MARKED = "plain", "marked"

EVENTS = {PLAIN: 3, MARKED: 1 + COUNT}
"""Of one visit: an impression of each load; one of all that came into sight, and the
clicks."""

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

Figures = dict[tuple[str, str], float]
"""What one visit cost: values by their names and units."""


def chromium_path() -> str | None:
    """Return the path of Chromium: ``CHROMIUM``, or the one on the PATH, or None."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


async def scripts_browser(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare a page with marked elements and the script with one without either."""
    path = chromium_path()
    if path is None:
        yield Note(text="left out: no Chromium is on the PATH")
        return
    seen: dict[str, defaultdict[tuple[str, str], list[float]]] = {
        PLAIN: defaultdict(list),
        MARKED: defaultdict(list),
    }
    visitors, wanted = itertools.cycle(range(WARM_VISITORS)), 0
    with (
        server("scripts", directory) as site,
        closing(SQLiteOutbox(str(directory / "outbox.db"))) as outbox,
    ):
        async with async_playwright() as driver:
            browser = await driver.chromium.launch(executable_path=path, args=[*ARGS])
            order = [*seen]
            # The first round warms up, as in every measurement.
            for number in range(effort.quick, effort.rounds_of(ROUNDS) + 1):
                for kind in order:
                    found = await _visit(browser, site.url, kind, next(visitors))
                    wanted += EVENTS[kind]
                    await _reaches(outbox, wanted)
                    for figure, value in found.items() if number else ():
                        seen[kind][figure].append(value)
                order.reverse()
    yield Note(text=f"a page with {COUNT} marked, and the script; beside it without")
    for (what, unit), ours in seen[MARKED].items():
        rival = seen[PLAIN][what, unit]
        if min(rival) > 0:
            yield Comparison(what=what, unit=unit, ours=ours, rival=rival)
        else:
            # A page without scripts spends nothing on them: there is no ratio.
            yield Figure(what=what, text=spread(ours, unit))


async def _visit(browser: Browser, url: str, kind: str, customer: int) -> Figures:
    """Load a page until its script is kept, look at it, and click each element.

    Each visitor has a context of their own, with empty caches.
    """
    context = await browser.new_context(user_agent=USER_AGENT)
    cookie = {"name": "customer_id", "value": f"customer-{customer}", "url": url}
    await context.add_cookies([cookie])  # type: ignore[list-item]
    page = await context.new_page()
    tools = await context.new_cdp_session(page)
    await tools.send("Performance.enable")
    cold = await _load(page, tools, url, kind)
    # Chromium compiles for later what it meets for the second time.
    await _load(page, tools, url, kind)
    warm = await _load(page, tools, url, kind)
    # The page before may be left in a warm one's heap.
    del warm["JS heap", "kB"]
    figures = {(f"{what}, cold", unit): value for (what, unit), value in cold.items()}
    figures |= {(f"{what}, warm", unit): value for (what, unit), value in warm.items()}
    before = await _metrics(tools)
    await asyncio.sleep(IN_SIGHT_FOR)
    spent = _since(before, await _metrics(tools))
    sight = "a second and more in sight, main thread's CPU"
    figures[sight, "ms"] = spent["ThreadTime"] * 1e3
    places = await page.evaluate(_PLACES)
    before = await _metrics(tools)
    for x, y in places:
        await page.mouse.click(x, y)
    spent = _since(before, await _metrics(tools))
    for what, metric in (
        ("one click, main thread at work", "TaskDuration"),
        ("one click, main thread's CPU", "ThreadTime"),
        ("  the script's part", "ScriptDuration"),
    ):
        figures[what, "us"] = spent[metric] / len(places) * 1e6
    await context.close()
    return figures


async def _load(page: Page, tools: CDPSession, url: str, kind: str) -> Figures:
    # The process that shows it is there already, and was busy with nothing.
    await page.goto(f"{url}{NOTHING}")
    await page.goto(f"{url}{elements(kind, COUNT)}")
    await asyncio.sleep(SETTLED_AFTER)
    # They began anew when the page did.
    spent = await _metrics(tools)
    first_byte, parsed, load, requests = await page.evaluate(_TIMES)
    await tools.send("HeapProfiler.collectGarbage")
    heap = (await _metrics(tools))["JSHeapUsedSize"]
    layout = spent["LayoutDuration"] + spent["RecalcStyleDuration"]
    return {
        ("first byte", "ms"): first_byte,
        ("DOMContentLoaded", "ms"): parsed,
        ("load event", "ms"): load,
        ("main thread at work", "ms"): spent["TaskDuration"] * 1e3,
        ("main thread's CPU", "ms"): spent["ThreadTime"] * 1e3,
        ("  its scripts", "ms"): spent["ScriptDuration"] * 1e3,
        ("  its layout and styles", "ms"): layout * 1e3,
        ("JS heap", "kB"): heap / 1e3,
        ("requests that reach the server", ""): requests,
    }


async def _metrics(tools: CDPSession) -> dict[str, float]:
    """Return the page's use of resources since it began, times in seconds."""
    answer = await tools.send("Performance.getMetrics")
    return {one["name"]: one["value"] for one in answer["metrics"]}


def _since(
    before: Mapping[str, float], after: Mapping[str, float]
) -> Mapping[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


async def _reaches(outbox: SQLiteOutbox, wanted: int) -> None:
    """Wait until so many events are there, or the figures are not of such pages."""
    counted = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while counted < wanted:
                await asyncio.sleep(0.02)
                counted = (await outbox.count()).waiting
    except TimeoutError:
        raise RuntimeError(f"{counted} events of {wanted} counted") from None
