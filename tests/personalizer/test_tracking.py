"""Events that an app reports by itself, and sync code on an async site."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import Experiences
from moe_middleware.sandbox import Sandbox

from ..sites import Site

KEY = "homepage-banner"


async def test_an_impression_counts_at_once_and_whatever_the_response(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        tracked = request.state.experiences.track_impression(KEY)
        return PlainTextResponse(tracked, status_code=404)

    site = Site(handler)

    response = await site.get(customer="alice")
    await site.delivered()

    [event] = sandbox.events
    assert event["moe_event_uuid"] == response.text
    assert str(uuid.UUID(response.text, version=4)) == response.text


async def test_tracked_and_shown_is_counted_once_and_what_did_not_match_is_not(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        found.show(KEY)
        tracked = [found.track_impression(KEY) for _ in range(2)]
        tracked += [found.track_click("homepage-baner") for _ in range(2)]
        tracked.append(found.track_impression("promo-strip"))
        return JSONResponse([one is None for one in tracked])

    site = Site(handler, routes=[{"path": "/", "experiences": [KEY, "autumn-hero"]}])

    response = await site.get(customer="alice")
    await site.delivered()

    assert response.json() == [False, True, True, True, True]
    assert len(sandbox.events) == 1
    # What was never asked for is a mistake.
    line = "track_ignored key=homepage-baner reason=not_requested: "
    assert caplog.text.count(line) == 1


async def test_clicks_carry_their_element_and_their_attributes(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        for b_id in ("Shop Now", "Shop Now", None):
            found.track_click(
                KEY,
                b_id,
                user_attributes={"plan": "gold"},
                user_timezone_offset=19_800,
            )
        return PlainTextResponse("clicked")

    site = Site(handler, events={"outbox": "memory:", "user_timezone_offset": 3600})

    await site.get(customer="alice")
    [claim, *_] = await site.runtime.outbox.claim(limit=10, lease_for=0)
    await site.delivered()

    assert claim.event.user_attributes == {"plan": "gold"}
    assert claim.event.user_timezone_offset == 19_800
    assert sandbox.clicks(KEY) == 3
    assert sandbox.clicks(KEY, "Shop Now") == 2


async def test_an_app_names_its_platform_and_its_own_uuid(sandbox: Sandbox) -> None:
    ours = str(uuid.uuid4())

    async def handler(request: Request) -> Response:
        found = request.state.experiences
        return JSONResponse(
            [
                found.track_impression(KEY, platform="iOS", uuid=ours.upper()),
                found.track_click(KEY, "Go", platform="android", uuid=uuid.UUID(ours)),
            ]
        )

    site = Site(handler)

    # An app that has heard no answer sends it again.
    responses = [await site.get(customer="alice") for _ in range(2)]
    await site.delivered()

    assert [one.json() for one in responses] == [[ours, ours]] * 2
    # MoEngage deduplicates by the uuid alone, whatever the action.
    [event] = sandbox.events
    assert (event["moe_event_uuid"], event["platform"]) == (ours, "ios")


async def test_what_moengage_would_refuse_is_refused_here(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    platforms: list[Any] = ["desktop", "", 7, object()]
    uuids: list[Any] = [
        *("5f0e", "", 7, object(), uuid.uuid1(), uuid.uuid4().hex, f"{uuid.uuid4()}\n")
    ]

    async def handler(request: Request) -> Response:
        track = request.state.experiences.track_click
        tracked = [track(KEY, platform=one) for one in platforms]
        return JSONResponse(tracked + [track(KEY, uuid=one) for one in uuids])

    site = Site(handler)

    response = await site.get(customer="alice")
    await site.delivered()

    assert response.json() == [None] * 11
    assert sandbox.events == []
    refused = [line for line in caplog.messages if line.startswith("event_refused")]
    assert len(refused) == 11
    assert "5f0e" not in caplog.text


def test_outside_of_a_request_nothing_is_tracked() -> None:
    assert Experiences().track_impression(KEY) is None


async def test_a_sync_handler_may_fetch_and_wait_for_what_is_on_its_way(
    sandbox: Sandbox,
) -> None:
    def handler(request: Request) -> Response:
        found = request.state.experiences
        sources = [found.ready_sync()[KEY].source, found.fetch_sync("promo-strip")]
        return PlainTextResponse(f"{sources[0]} {sources[1].source}")

    sandbox.fault(path="fetch", latency=0.05)
    app = Starlette(routes=[Route("/", handler)])
    site = Site(app=app, fetch={"prefetch": "concurrent", "timeout": 5})

    assert (await site.get(customer="alice")).text == "api api"
    assert (await site.get(customer="alice")).text == "cache cache"


async def test_waiting_on_the_event_loop_itself_is_refused_with_what_to_do(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        with pytest.raises(RuntimeError, match=r"await experiences\.ready"):
            request.state.experiences.fetch_sync("promo-strip")
        return PlainTextResponse("refused")

    assert (await Site(handler).get(customer="alice")).text == "refused"


async def test_a_cached_context_goes_back_as_it_came_whatever_the_page_does_to_it(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        source, context = found[KEY].source, found[KEY].experience_context
        found.show(KEY)
        seen = dict(context)
        if source == "cache":
            context.clear()
            context["cid"] = "the page's own"
        return JSONResponse([source, seen])

    site = Site(handler)

    pages = [(await site.get(customer="alice")).json() for _ in range(3)]
    await site.delivered()

    assert [source for source, _ in pages] == ["api", "cache", "cache"]
    assert pages[0][1] == pages[1][1] == pages[2][1]
    # The sandbox takes none whose context is not what it gave.
    assert len({event["moe_event_uuid"] for event in sandbox.events}) == 3
