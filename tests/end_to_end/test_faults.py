"""Every fault of the API against a real server: pages come, and all heals by itself.

``python -m benchmarks outages`` measures the same faults; here nothing is timed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from moe_middleware import Settings
from moe_middleware.sandbox.listeners import listen

from ..misbehaving import Fault, misbehaving
from ..rows import each
from .counting_site import KEY, site
from .visits import Browser, Visited, browsing

BUDGET = 0.1
"""Of a page whose fault takes it all, in seconds."""

REASONS = {
    Fault.SILENT: "timeout",
    Fault.REFUSING: "unreachable",
    Fault.CUTTING: "unreachable",
    Fault.DRIPPING: "timeout",
    Fault.FAILING: "server_error",
    Fault.LIMITED: "rate_limited",
    Fault.UNAUTHORIZED: "unauthorized",
    Fault.HTML: "bad_answer",
    Fault.HUGE: "bad_answer",
    Fault.PACKED: "bad_answer",
    Fault.CRUMBS: "bad_answer",
    Fault.DEEP: "bad_answer",
    Fault.MILLISECONDS: "rate_limited",
}
TAKES_ALL = (Fault.SILENT, Fault.DRIPPING)
"""Faults that only the budget ends; the others end before a generous one."""


@asynccontextmanager
async def serving(url: str, **sections: Any) -> AsyncIterator[Browser]:
    """Serve the site by a real uvicorn in a thread of its own; open a browser at it."""
    settings = Settings(
        workspace={"id": "W", "api_key": "K", "base_url": url},
        identity={"customer_id": {"cookie": "customer_id"}},
        routes=[{"path": "/", "experiences": [KEY]}],
        metadata={"interval": 0},
        events={"outbox": "memory:", "relay": "off"},
        **sections,
    )
    app = site(settings)
    listener = listen()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="error",
            ws="none",
            timeout_graceful_shutdown=1,
            # Longer than a busy machine keeps the browser waiting.
            timeout_keep_alive=60,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        async with browsing(listener.getsockname()[1]) as browser:
            yield browser
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join)


def budget(fault: Fault) -> dict[str, Any]:
    return {"timeout": BUDGET if fault in TAKES_ALL else 10.0, "tries": 1}


async def healed(browser: Browser) -> Visited:
    """Visit, each time as somebody new, until the API answers again."""
    async with asyncio.timeout(30):
        for visitor in range(10_000):
            page = await browser.visit(f"healed-{visitor}")
            if page.source == "api":
                return page
            await asyncio.sleep(0.02)
    raise AssertionError("it never healed")


@each("fault", REASONS)
async def test_a_fault_costs_a_page_its_experience_and_no_more(fault: Fault) -> None:
    cache = {"ttl": 0.001, "stale": 600}
    async with (
        misbehaving() as api,
        serving(api.url, fetch=budget(fault), cache=cache) as browser,
    ):
        first = await browser.visit("known")
        await api.behave(fault)
        fresh = [await browser.visit(f"fresh-{number}") for number in range(2)]
        known = await browser.visit("known")
        plain = await browser.visit(path="/plain")
        heard = api.heard
        await api.behave(Fault.NONE)
        assert (await healed(browser)).title == "Sale"

    assert (first.answer, first.title) == ("api", "Sale")
    assert {page.answer for page in fresh} == {f"fallback {REASONS[fault]}"}
    assert {page.title for page in fresh} == {"Welcome"}
    assert (known.source, known.title) == ("stale", "Sale")
    assert plain.answer == "plain"
    # One call for each page at most; without a listener, none arrives.
    assert heard <= (2 if fault is Fault.UNAUTHORIZED else 4)
