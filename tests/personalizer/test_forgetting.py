"""What the cache takes for another answer, and what makes it forget one."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware
from moe_middleware.sandbox import Sandbox

from ..sites import Site, settings

KEY = "homepage-banner"
PHONE = {"user-agent": "Mozilla/5.0 (iPhone) Mobile/15E148"}
LAPTOP = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64)"}


async def source(request: Request) -> Response:
    return PlainTextResponse(request.state.experiences[KEY].source)


# --- what makes another answer ---------------------------------------------


async def test_another_browser_gets_the_same_answer(sandbox: Sandbox) -> None:
    site = Site(source)

    sources = [
        (await site.get(customer="alice", headers=headers)).text
        for headers in (PHONE, LAPTOP)
    ]

    assert sources == ["api", "cache"]


async def test_another_browser_is_asked_for_where_the_file_says_so(
    sandbox: Sandbox,
) -> None:
    site = Site(source, cache={"vary": ["USER_AGENT"]})

    sources = [
        (await site.get(customer="alice", headers=headers)).text
        for headers in (PHONE, LAPTOP, PHONE, LAPTOP)
    ]

    assert sources == ["api", "api", "cache", "cache"]


async def test_a_name_that_varies_nothing_costs_answers_and_no_mix_up(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    attributes = {"utm_medium": {"query": "utm_medium"}}
    site = Site(source, attributes=attributes, cache={"vary": ["utm_mediun"]})
    paths = ("/?utm_medium=a", "/?utm_medium=b", "/?utm_medium=a")

    sources = [(await site.get(path, customer="alice")).text for path in paths]

    assert sources == ["api", "api", "cache"]
    assert "vary_unknown place=cache.vary.0" in caplog.text
    assert "did you mean 'utm_medium'?" in caplog.text


async def test_a_configured_attribute_makes_another_answer(sandbox: Sandbox) -> None:
    site = Site(source, attributes={"utm_medium": {"query": "utm_medium"}})
    paths = ("/", "/?utm_medium=email", "/?utm_medium=email&page=2", "/")

    sources = [(await site.get(path, customer="alice")).text for path in paths]

    assert sources == ["api", "api", "cache", "cache"]


async def test_nothing_but_the_hour_matters_where_the_file_says_so(
    sandbox: Sandbox,
) -> None:
    routes = [{"path": "/", "experiences": [KEY], "vary": []}]
    attributes = {"utm_medium": {"query": "utm_medium"}}
    site = Site(source, attributes=attributes, routes=routes)

    paths = ("/", "/?utm_medium=email")
    sources = [(await site.get(path, customer="alice")).text for path in paths]

    assert sources == ["api", "cache"]


async def test_a_route_says_which_attributes_matter(sandbox: Sandbox) -> None:
    site = Site(
        source,
        path="/{page}",
        attributes={
            "utm_medium": {"query": "utm_medium"},
            "currency": {"query": "currency"},
        },
        routes=[
            {"path": "/{page}", "experiences": [KEY], "vary": ["currency"]},
            {"path": "/all", "experiences": [KEY], "vary": ["currency", "utm_medium"]},
        ],
    )
    paths = ("/a", "/a?utm_medium=email", "/a?currency=eur", "/all?utm_medium=email")

    sources = [(await site.get(path, customer="alice")).text for path in paths]

    assert sources == ["api", "cache", "api", "api"]


async def test_another_identifier_makes_another_answer_for_the_same_customer(
    sandbox: Sandbox,
) -> None:
    site = Site(
        source,
        identity={
            "customer_id": {"cookie": "customer_id"},
            "user_identifiers": {"u_em": {"header": "x-email"}},
        },
    )
    mails = [{"x-email": mail} for mail in ("a@b.example", "c@d.example")]

    sources = [
        (await site.get(customer="alice", headers=headers)).text
        for headers in (*mails, *mails)
    ]

    assert sources == ["api", "api", "cache", "cache"]


@pytest.mark.parametrize("later", [3600, 24 * 3600])
async def test_another_hour_or_day_makes_another_answer(
    sandbox: Sandbox, later: int
) -> None:
    site = Site(source, cache={"stale": 0})
    await site.get(customer="alice")

    site.clock.now += later
    page = await site.get(customer="alice")

    assert page.text == "api"


# --- what is forgotten -----------------------------------------------------


async def test_forget_makes_the_next_page_ask_anew(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        if request.url.path == "/buy":
            found.forget()
        return PlainTextResponse(found[KEY].source)

    routes = [{"path": "/", "experiences": [KEY]}]
    site = Site(handler, path="/{rest:path}", routes=routes)

    for customer in ("alice", "bob"):
        await site.get("/", customer=customer)
    await site.get("/buy", customer="alice")
    alice = await site.get("/", customer="alice")
    bob = await site.get("/", customer="bob")

    assert (alice.text, bob.text) == ("api", "cache")


async def test_forget_holds_against_a_fetch_under_way(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        if request.url.path == "/buy":
            found.forget()
        return PlainTextResponse(found[KEY].source)

    routes = [{"path": "/", "experiences": [KEY]}]
    site = Site(handler, path="/{rest:path}", routes=routes, fetch={"timeout": 5})
    sandbox.fault(path="fetch", latency=0.1, times=1)

    early = asyncio.ensure_future(site.get("/", customer="alice"))
    while sandbox.calls["fetch"] == 0:
        await asyncio.sleep(0.001)
    await site.get("/buy", customer="alice")
    joined = await site.get("/", customer="alice")

    assert (await early).text == "api"  # the page that waited still gets it
    assert joined.text == "api"
    assert sandbox.calls["fetch"] == 2
    assert (await site.get("/", customer="alice")).text == "cache"


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"set-cookie": "customer_id=bob; Path=/"}, ["api", "api"]),
        ({"set-cookie": 'customer_id=""; Max-Age=0'}, ["api", "cache"]),
        ({"set-cookie": "customer_id=alice; Path=/"}, ["cache", "cache"]),
        ({"set-cookie": "theme=dark"}, ["cache", "cache"]),
        ({}, ["cache", "cache"]),
    ],
    ids=["login", "logout", "renewed", "another cookie", "none"],
)
async def test_who_logs_in_or_out_by_cookie_is_asked_for_anew(
    sandbox: Sandbox, headers: dict[str, str], after: list[str]
) -> None:
    async def handler(request: Request) -> Response:
        if request.url.path == "/account":
            return JSONResponse({}, headers=headers)
        return await source(request)

    routes = [{"path": "/", "experiences": [KEY]}]
    site = Site(handler, path="/{rest:path}", routes=routes)
    for customer in ("alice", "bob"):
        await site.get("/", customer=customer)

    await site.get("/account", customer="alice")
    pages = [await site.get("/", customer=customer) for customer in ("alice", "bob")]

    assert [page.text for page in pages] == after


async def test_who_logs_in_or_out_by_session_is_asked_for_anew(
    sandbox: Sandbox,
) -> None:
    async def account(request: Request) -> Response:
        request.session["customer"] = request.query_params["as"]
        return PlainTextResponse("in")

    async def logout(request: Request) -> Response:
        request.session.clear()
        return PlainTextResponse("out")

    config = settings(identity={"customer_id": {"session": "customer"}})
    app = Starlette(
        routes=[Route("/", source), Route("/in", account), Route("/out", logout)],
        middleware=[
            Middleware(SessionMiddleware, secret_key="not a secret"),
            Middleware(MoEngageMiddleware, config=config),
        ],
    )
    site = Site(app=app)
    site.app = app  # type: ignore[assignment]
    jar: dict[str, str] = {}

    async def get(path: str) -> str:
        response = await site.get(path, headers=dict(jar))
        if "set-cookie" in response.headers:
            jar["cookie"] = response.headers["set-cookie"].partition(";")[0]
        return response.text

    sources = [await get(path) for path in ("/in?as=alice", "/", "/", "/out", "/")]
    again = [await get(path) for path in ("/in?as=alice", "/", "/in?as=alice", "/")]

    assert sources[:3] == ["in", "api", "cache"]
    assert again == ["in", "api", "in", "cache"]


# --- what a response tells of it -------------------------------------------


async def test_server_timing_tells_the_source_and_the_wait(sandbox: Sandbox) -> None:
    site = Site()
    sandbox.fault(path="fetch", latency=0.05, times=1)

    first = await site.get(customer="alice")
    second = await site.get(customer="alice")

    name, source, duration = first.headers["server-timing"].split(";")
    assert (name, source) == ("moe", 'desc="api"')
    assert float(duration.removeprefix("dur=")) >= 50
    assert second.headers["server-timing"].startswith('moe;desc="cache";dur=')


async def test_server_timing_leaves_the_apps_own_alone(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse("fine", headers={"server-timing": "db;dur=5"})

    response = await Site(handler).get(customer="alice")

    timings = response.headers.get_list("server-timing")
    assert timings[0] == "db;dur=5"
    assert timings[1].startswith("moe;")


async def test_server_timing_can_be_switched_off_and_is_for_mapped_pages(
    sandbox: Sandbox,
) -> None:
    off = await Site(fetch={"server_timing": False}).get(customer="alice")
    unmapped = await Site(source, path="/other").get("/other")

    assert "server-timing" not in off.headers
    assert "server-timing" not in unmapped.headers
