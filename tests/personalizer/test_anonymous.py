"""Anonymous visitors under the newest documents, which know no visitor_id."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import Identity, MoEngageClient, Settings, SettingsError
from moe_middleware.sandbox import Sandbox

from ..sites import Site

KEY = "homepage-banner"
IDS = [str(uuid.UUID(int=number, version=4)) for number in range(100)]


async def variations(sandbox: Sandbox, **sections: Any) -> list[str]:
    """Return the title that each of the anonymous visitors gets."""
    given: dict[str, Any] = {"workspace": {"data_center": "sandbox"}, **sections}
    client = MoEngageClient(
        Settings(**given), transport=lambda: httpx.ASGITransport(sandbox)
    )
    async with client:
        return [
            (await client.fetch([KEY], identity=Identity(visitor_id=one)))[KEY]["Title"]
            for one in IDS
        ]


NEWEST = {"workspace": {"data_center": "sandbox", "dialect": "identifiers"}}


async def test_as_a_customer_id_they_split_and_stay_under_a_strict_reading() -> None:
    strict = Sandbox(strict=True)
    as_customers = {**NEWEST, "identity": {"anonymous_as": "customer_id"}}

    first = await variations(strict, **as_customers)

    assert first == await variations(strict, **as_customers)
    assert len(set(first)) == 2
    assert min(Counter(first).values()) >= 30
    # As visitors they are all the same.
    assert len(set(await variations(strict, **NEWEST))) == 1


@pytest.mark.parametrize("dialect", ["identifiers", "both", "flat"])
@pytest.mark.parametrize("wanted", ["customer_id", "visitor_id"])
async def test_every_dialect_says_what_is_set(dialect: str, wanted: str) -> None:
    workspace = {"data_center": "sandbox", "dialect": dialect}
    titles = await variations(
        Sandbox(), workspace=workspace, identity={"anonymous_as": wanted}
    )

    assert len(set(titles)) == (
        1 if (dialect, wanted) == ("identifiers", "visitor_id") else 2
    )


async def who(request: Request) -> Response:
    experiences = request.state.experiences
    experiences.show(KEY)
    return PlainTextResponse(experiences.identity.visitor_id)


async def test_the_event_carries_the_id_that_was_fetched_for(sandbox: Sandbox) -> None:
    site = Site(who, identity={"anonymous_as": "customer_id"})

    minted = (await site.get()).text
    await site.delivered()

    assert sandbox.impressions(KEY) == 1
    assert {event["customer_id"] for event in sandbox.events} == {minted}


def test_a_dialect_without_a_place_for_identifiers_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"identity\.user_identifiers: .*'flat'"):
        Settings(
            workspace={"data_center": "sandbox", "dialect": "flat"},
            identity={"user_identifiers": {"u_em": {"header": "X-Email"}}},
        )


async def test_identifiers_of_a_caller_are_not_dropped_in_silence(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(user_identifiers={"u_em": "ada@shop.example"})
    workspace = {"data_center": "sandbox", "dialect": "flat"}
    async with MoEngageClient(Settings(workspace=workspace)) as client:
        await client.fetch([KEY], identity=identity)
        await client.fetch([KEY], identity=identity)

    lines = [one for one in caplog.messages if "user_identifiers_not_sent" in one]
    assert len(lines) == 1
    assert "ada" not in caplog.text


async def test_a_preflight_is_no_visit(sandbox: Sandbox) -> None:
    async def anything(request: Request) -> Response:
        return PlainTextResponse(str(request.state.experiences.identity))

    methods = ["GET", "OPTIONS"]
    site = Site(app=Starlette(routes=[Route("/", anything, methods=methods)]))
    asks = {"origin": "https://other.example", "access-control-request-method": "GET"}

    preflight = await site.request("OPTIONS", headers=asks)
    plain = await site.request("OPTIONS")

    assert "set-cookie" not in preflight.headers
    assert "set-cookie" in plain.headers
    assert sandbox.calls["fetch"] == 1


@pytest.mark.parametrize("name", ["__Host-moe", "__Secure-moe", "__host-moe", "moe"])
async def test_our_cookie_is_one_that_browsers_take(
    sandbox: Sandbox, name: str
) -> None:
    cookie = (await Site(identity={"anonymous_cookie": name}).get()).headers[
        "set-cookie"
    ]

    assert ("Secure" in cookie.split("; ")) is name.startswith("__")
    assert "Path=/" in cookie.split("; ")
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"anonymous_cookie": "moe_uuid"}, "is where visitor_id comes from"),
        ({"anonymous_cookie": "moe_device"}, "keeps the Web SDK's device id"),
        ({"anonymous_cookie": "moe_preview"}, "keeps an open preview"),
        (
            {"anonymous_cookie": "uid", "customer_id": {"cookie": "uid"}},
            "is where customer_id comes from",
        ),
        ({"anonymous_cookie": "a b"}, "no cookie name"),
    ],
)
def test_a_cookie_that_is_taken_is_refused(identity: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(workspace={"data_center": "sandbox"}, identity=identity)


async def anywhere(request: Request) -> Response:
    return PlainTextResponse("")


@pytest.mark.parametrize(
    ("path", "wanted", "assets", "fetches"),
    [
        ("/products/tea", "document", "off", 1),
        *(("/logo.png", "image", "off", 0), ("/logo.png", None, "off", 0)),
        *(("/banner.css", "style", "off", 1), ("/part", "empty", "off", 1)),
        *(("/poll/cart", "empty", "off", 0), ("/poll", "empty", "off", 1)),
        ("/logo.png", None, "on", 1),
    ],
)
async def test_a_file_within_a_page_costs_no_fetch_and_gets_no_cookie(
    sandbox: Sandbox, path: str, wanted: str | None, assets: str, fetches: int
) -> None:
    routes = [
        {"path": "/{rest:path}", "experiences": [KEY], "exclude": ["/poll/{what}"]},
        {"path": "/banner.css", "experiences": [KEY]},
    ]
    app = Starlette(routes=[Route("/{rest:path}", anywhere)])
    headers = {"sec-fetch-dest": wanted} if wanted else {}

    site = Site(app=app, routes=routes, fetch={"assets": assets})
    page = await site.get(path, headers=headers)

    assert sandbox.calls["fetch"] == fetches
    assert ("set-cookie" in page.headers) is bool(fetches)
