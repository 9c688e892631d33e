"""Every fault of the API against a real server: pages come, and all heals by itself.

``python -m benchmarks outages`` measures the same faults; here nothing is timed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from moe_middleware import Settings
from moe_middleware.sandbox.listeners import listen

from ..misbehaving import Authority, Fault, misbehaving
from ..redis_servers import redis_server
from ..rows import each
from ..servers import free_port, running
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
TLS_FAULTS = (Fault.UNTRUSTED, Fault.NO_TLS)
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


@pytest.mark.parametrize("fault", [Fault.NONE, *TLS_FAULTS], ids=str)
async def test_tls_that_is_no_good_is_an_api_out_of_reach(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with (
        misbehaving(fault, authority) as api,
        serving(api.url, fetch=budget(fault)) as browser,
    ):
        page = await browser.visit("somebody")
        heard = api.heard
        await api.behave(Fault.NONE)
        after = await healed(browser)

    well = fault is Fault.NONE
    assert page.answer == ("api" if well else "fallback unreachable")
    assert heard == (1 if well else 0)
    assert after.title == "Sale"


async def test_without_a_fault_every_page_is_answered() -> None:
    async with misbehaving() as api, serving(api.url, fetch={"timeout": 10}) as browser:
        pages = [await browser.visit(f"visitor-{number}") for number in range(20)]
        again = [await browser.visit(f"visitor-{number}") for number in range(20)]
        counts = await browser.counts()

    assert {page.answer for page in pages} == {"api"}
    assert {page.answer for page in again} == {"cache"}
    assert api.heard == counts["counters"]["calls.fetch.ok"] == 20
    assert counts["breaker"] == "closed"


CONFIG = """
workspace: {id: W, api_key: K}
identity: {customer_id: {cookie: customer_id}}
routes: [{path: "/", experiences: [hero]}]
fetch: {timeout: 0.3}
metadata: {interval: 0}
events: {outbox: "memory:", relay: "off"}
"""


async def test_a_name_server_that_hangs_holds_up_a_page_for_its_budget_alone(
    tmp_path: Path,
) -> None:
    hangs = tmp_path / "hangs"
    hangs.touch()
    (tmp_path / "moe.yml").write_text(CONFIG)
    port = free_port()
    async with misbehaving() as api:
        # In its own process: the whole of its Python gets no name looked up.
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(
                stack.enter_context,
                running(
                    *("-m", "uvicorn", "--factory", "--port", str(port)),
                    "tests.end_to_end.counting_site:configured",
                    port=port,
                    log=tmp_path / "site.log",
                    environ={
                        "MOE_CONFIG": str(tmp_path / "moe.yml"),
                        "MOE_BASE_URL": f"http://api.test:{api.port}/v1",
                        "HANGING_NAMES": str(hangs),
                    },
                ),
            )
            async with browsing(port) as browser:
                lost = await browser.visit("somebody")
                plain = await browser.visit(path="/plain")
                heard = api.heard
                hangs.unlink()
                after = await healed(browser)
                hangs.touch()
                known_by_now = await browser.visit("late")

    assert lost.answer == "fallback timeout"
    assert plain.answer == "plain"
    assert heard == 0
    assert after.title == known_by_now.title == "Sale"


@pytest.mark.parametrize("fault", ["hangs", "is gone", "is well"])
async def test_a_shared_cache_in_trouble_leaves_the_api_to_answer(
    fault: str, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as redis:
        shared = {"redis": redis.url, "redis_timeout": 0.05}
        fetch = {"timeout": 10}
        async with (
            misbehaving() as api,
            serving(api.url, fetch=fetch, cache=shared) as browser,
        ):
            before = await browser.visit("early")
            if fault == "hangs":
                redis.hang()
            elif fault == "is gone":
                redis.kill()
            pages = [await browser.visit(f"visitor-{number}") for number in range(3)]
            cached = await browser.visit("visitor-2")
            if fault == "hangs":
                redis.resume()
            elif fault == "is gone":
                redis.restart()
            after = await healed(browser)

    assert before.answer == after.answer == "api"
    assert {page.answer for page in pages} == {"api"}
    assert cached.answer == "cache"
