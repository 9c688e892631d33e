"""What the cache takes for another answer, and what makes it forget one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware
from moe_middleware.sandbox import Sandbox

from ..sites import Site, settings

KEY = "homepage-banner"
PHONE = {"user-agent": "Mozilla/5.0 (iPhone) Mobile/15E148"}
LAPTOP = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64)"}
ROUTE = {"path": "/{rest:path}", "experiences": [KEY]}
CUSTOMER = {"customer_id": {"cookie": "customer_id"}}


async def source(request: Request) -> Response:
    return PlainTextResponse(request.state.experiences[KEY].source)


# --- what makes another answer ---------------------------------------------


UTM = {"utm_medium": {"query": "utm_medium"}}
MAIL = {"u_em": {"header": "x-email"}}
A_OR_B = [{"x-email": "a@b.example"}, {"x-email": "c@d.example"}]


@pytest.mark.parametrize(
    ("sections", "visits", "sources"),
    [
        ({}, [PHONE, LAPTOP], ["api", "cache"]),
        (
            {"cache": {"vary": ["USER_AGENT"]}},
            [PHONE, LAPTOP, PHONE, LAPTOP],
            ["api", "api", "cache", "cache"],
        ),
        (
            {"attributes": UTM},
            ["/", "/?utm_medium=email", "/?utm_medium=email&page=2", "/"],
            ["api", "api", "cache", "cache"],
        ),
        (
            {"attributes": UTM, "routes": [{**ROUTE, "vary": []}]},
            ["/", "/?utm_medium=email"],
            ["api", "cache"],
        ),
        (
            {
                "attributes": {**UTM, "currency": {"query": "currency"}},
                "routes": [
                    {**ROUTE, "vary": ["currency"]},
                    {**ROUTE, "path": "/all", "vary": ["currency", "utm_medium"]},
                ],
            },
            ["/a", "/a?utm_medium=email", "/a?currency=eur", "/all?utm_medium=email"],
            ["api", "cache", "api", "api"],
        ),
        (
            {"identity": {**CUSTOMER, "user_identifiers": MAIL}},
            [*A_OR_B, *A_OR_B],
            ["api", "api", "cache", "cache"],
        ),
    ],
    ids=["nothing", "vary", "attributes", "an empty vary", "a route's", "identifiers"],
)
async def test_what_makes_another_answer(
    sandbox: Sandbox, sections: Any, visits: list[Any], sources: list[str]
) -> None:
    site = Site(source, path="/{rest:path}", **{"routes": [ROUTE], **sections})
    seen = []
    for one in visits:
        path, headers = (one, {}) if isinstance(one, str) else ("/", one)
        cookie = {"cookie": "customer_id=alice"}
        seen.append((await site.get(path, headers={**cookie, **headers})).text)

    assert seen == sources


async def test_a_name_that_varies_nothing_costs_answers_and_no_mix_up(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(source, attributes=UTM, cache={"vary": ["utm_mediun"]})
    paths = ("/?utm_medium=a", "/?utm_medium=b", "/?utm_medium=a")

    sources = [(await site.get(path, customer="alice")).text for path in paths]

    assert sources == ["api", "api", "cache"]
    assert "vary_unknown place=cache.vary.0" in caplog.text
    assert "did you mean 'utm_medium'?" in caplog.text


# --- what is forgotten -----------------------------------------------------


async def test_forget_makes_the_next_page_ask_anew_also_during_a_fetch(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        if request.url.path == "/buy":
            found.forget()
        return PlainTextResponse(found[KEY].source)

    routes = [{"path": "/", "experiences": [KEY]}]
    site = Site(handler, path="/{rest:path}", routes=routes)
    await site.get("/", customer="bob")
    sandbox.fault(path="fetch", latency=0.1, times=1)

    early = asyncio.ensure_future(site.get("/", customer="alice"))
    while sandbox.calls["fetch"] == 1:
        await asyncio.sleep(0.001)
    await site.get("/buy", customer="alice")
    joined = await site.get("/", customer="alice")

    assert (await early).text == "api"  # the page that waited still gets it
    assert joined.text == "api"
    assert sandbox.calls["fetch"] == 3
    assert (await site.get("/", customer="alice")).text == "cache"
    await site.get("/buy", customer="alice")
    assert (await site.get("/", customer="alice")).text == "api"
    assert (await site.get("/", customer="bob")).text == "cache"


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
            return PlainTextResponse("", headers=headers)
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


async def test_server_timing_tells_the_source_and_the_wait_beside_the_apps_own(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse("fine", headers={"server-timing": "db;dur=5"})

    site = Site(handler)
    sandbox.fault(path="fetch", latency=0.05, times=1)

    first, second = [
        (await site.get(customer="alice")).headers.get_list("server-timing")
        for _ in range(2)
    ]

    assert first[0] == second[0] == "db;dur=5"
    name, source, duration = first[1].split(";")
    assert (name, source) == ("moe", 'desc="api"')
    assert float(duration.removeprefix("dur=")) >= 50
    assert second[1].startswith('moe;desc="cache";dur=')


async def test_server_timing_can_be_switched_off_and_is_for_mapped_pages(
    sandbox: Sandbox,
) -> None:
    off = await Site(fetch={"server_timing": False}).get(customer="alice")
    unmapped = await Site(source, path="/other").get("/other")

    assert "server-timing" not in off.headers
    assert "server-timing" not in unmapped.headers
