"""``prefetch: concurrent``: the fetch runs beside the handler, in the whole flow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import Experiences
from moe_middleware.sandbox import Sandbox

from ..sites import PAGE, Handler, Site, rendered

KEY = "homepage-banner"
PAGES = [
    PAGE,
    "{% block main %}" + PAGE + "{% endblock %}",
    f'{{% set hero = "{KEY}"|moe_middleware.meet(1, true) %}}'
    "{{ hero.Title if hero else 'Welcome' }}",
]
"""Within a block the tag finds and counts in one call; the last page calls what the
bytecode of an earlier version does."""
CONCURRENT = {"prefetch": "concurrent", "timeout": 5}


def concurrent(handler: Handler | None = None, **sections: Any) -> Site:
    return Site(handler, **{"fetch": CONCURRENT, **sections})


async def test_the_handler_runs_while_the_fetch_does(sandbox: Sandbox) -> None:
    seen: list[object] = []

    async def handler(request: Request) -> Response:
        found = request.state.experiences
        seen.append(found[KEY].reason)
        # It joins what is on its way.
        seen.append((await found.fetch(KEY)).source)
        return PlainTextResponse(found[KEY]["Title"])

    sandbox.fault(path="fetch", latency=0.05)
    site = concurrent(handler)

    pages = [(await site.get(customer="alice")).status_code for _ in range(2)]

    assert pages == [200, 200]
    assert seen == ["not_ready", "api", None, "cache"]
    assert sandbox.calls["fetch"] == 1


async def test_what_has_arrived_meanwhile_needs_no_await(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        while found.pending and not found[KEY]:
            await asyncio.sleep(0.001)
        return JSONResponse([found[KEY].source, list(found.pending)])

    response = await concurrent(handler).get(customer="alice")

    assert response.json() == ["api", []]


async def test_a_page_that_never_asks_is_not_delayed_and_its_fetch_is_kept(
    sandbox: Sandbox,
) -> None:
    sources: list[object] = []

    async def handler(request: Request) -> Response:
        if request.url.query:
            sources.append((await request.state.experiences.ready())[KEY].source)
        return PlainTextResponse("quiet")

    site = concurrent(handler)
    sandbox.fault(path="fetch", latency=0.2)

    await site.get(customer="alice")
    assert not site.runtime.cache  # the page was there before the answer
    while not site.runtime.cache:
        await asyncio.sleep(0.01)
    await site.get("/?again", customer="alice")

    assert sources == ["cache"]
    assert sandbox.calls["fetch"] == 1


@pytest.mark.parametrize("page", PAGES)
async def test_an_async_template_waits_by_itself(page: str, sandbox: Sandbox) -> None:
    env = Environment(
        extensions=["moe_middleware.jinja.MoEngageExtension"],
        autoescape=True,
        enable_async=True,
    )

    async def handler(request: Request) -> Response:
        return HTMLResponse(await template.render_async(request=request))

    template = env.from_string(page)
    sandbox.fault(path="fetch", latency=0.05)
    site = concurrent(handler)

    response = await site.get(customer="alice")
    await site.delivered()

    assert "Welcome" not in response.text
    assert len(sandbox.events) == 1


@pytest.mark.parametrize("page", PAGES)
async def test_a_sync_template_does_not_wait_and_says_what_to_do(
    page: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.fault(path="fetch", latency=0.05)

    response = await concurrent(rendered(page)).get(customer="alice")

    assert "Welcome" in response.text
    assert "experience_not_ready key=homepage-banner" in caplog.text
    assert "await experiences.ready()" in caplog.text


async def test_a_route_chooses_for_itself(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        return JSONResponse(list(request.state.experiences.pending))

    routes = [{"path": "/", "experiences": [KEY], "prefetch": "blocking"}]
    sandbox.fault(path="fetch", latency=0.05)

    response = await concurrent(handler, routes=routes).get(customer="alice")

    assert response.json() == []


async def test_the_wait_ends_with_the_budget(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = await request.state.experiences.ready()
        return PlainTextResponse(str(found[KEY].reason))

    sandbox.fault(path="fetch", latency=30)
    site = concurrent(handler, fetch={"prefetch": "concurrent", "timeout": 0.05})

    assert (await site.get(customer="alice")).text == "timeout"


@pytest.mark.parametrize("call", ["ready", "fetch"])
async def test_a_view_on_an_event_loop_of_its_own_gets_its_answer(
    sandbox: Sandbox, call: str
) -> None:
    async def view(found: Experiences) -> str:
        if call == "ready":
            return str((await found.ready())[KEY].source)
        return str((await found.fetch("promo-strip")).source)

    def handler(request: Request) -> Response:
        # As Flask runs an async view in a thread.
        return PlainTextResponse(asyncio.run(view(request.state.experiences)))

    sandbox.fault(path="fetch", latency=0.05)
    app = Starlette(routes=[Route("/", handler)])
    site = Site(app=app, fetch={"prefetch": "concurrent", "timeout": 30})

    response = await asyncio.wait_for(site.get(customer="alice"), 20)

    assert response.text == "api"
