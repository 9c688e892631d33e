"""The Web SDK's device id: asked for, handed over, used, and yielding to a customer."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Sandbox

from ..sites import Site, rendered

KEY = "homepage-banner"
DEVICE = "3d2f6a10-58d4-4d0e-9b57-0d1f6b2a7c11"
OTHER = "c0ffee00-58d4-4d0e-9b57-0d1f6b2a7c11"
MINTED = "7b0e4f32-1c7a-4b58-8f0a-6f9d2f9d1c22"
OWN = {"sec-fetch-site": "same-origin", "user-agent": "Mozilla/5.0 Firefox/145.0"}
PAGE = """
{%- experience "homepage-banner" as banner -%}
<a href="{{ banner.click_url("/shop", "Link") }}" {{ banner.attrs("Mark") }}>x</a>
{%- endexperience -%}
{{ moe_web_sdk("none-of-the-page") }}
"""
DEVICE_VALUE = re.compile(r'"device":("[^"]*"|null)')


def site(**sections: Any) -> Site:
    return Site(rendered(PAGE), secret_key="a secret of these tests alone", **sections)


async def device_cookie(some: Site, cookie: str = "") -> str | None:
    """Return what a page says of the device id: the cookie it misses, or nothing."""
    page = await some.get(headers={"cookie": cookie})
    found = DEVICE_VALUE.search(page.text)
    token: str | None = json.loads(found[1]) if found else None
    return token


async def hand_over(
    some: Site, device: str = DEVICE, *, path: str = "/_moe/d", **headers: str
) -> httpx.Response:
    sent = OWN | {name.replace("_", "-"): value for name, value in headers.items()}
    return await some.request("POST", path, headers=sent, content=device)


async def fetched_with(some: Site, sandbox: Sandbox, cookie: str) -> dict[str, Any]:
    """Return the ids of the fetch for a page."""
    await some.get(headers={"cookie": cookie})
    fetch, *_ = sandbox.requests.latest(endpoint="fetch")
    body = json.loads(fetch.request_body)
    return {name: body.get(name) for name in ("customer_id", "visitor_id")}


# --- asked for ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("", "moe_uuid"),
        (f"moe_visitor={MINTED}", "moe_uuid"),
        (f"moe_uuid={DEVICE}", None),
        (f"moe_device={DEVICE}", None),
        (f"moe_device={DEVICE}; moe_visitor={MINTED}", None),
        ("customer_id=alice", None),
    ],
)
async def test_it_is_asked_for_where_it_is_missing(
    cookie: str, expected: str | None, sandbox: Sandbox
) -> None:
    assert await device_cookie(site(), cookie) == expected


@pytest.mark.parametrize("source", [{"header": "X-Device"}, {"value": ""}])
async def test_a_site_with_visitor_ids_from_elsewhere_wants_no_other(
    source: dict[str, str], sandbox: Sandbox
) -> None:
    some = site(identity={"visitor_id": source, "anonymous": "off"})

    assert await device_cookie(some) is None
    assert "set-cookie" not in (await hand_over(some)).headers
    ids = await fetched_with(some, sandbox, f"moe_device={DEVICE}")
    assert ids["visitor_id"] is None


async def test_without_a_cookie_of_ours_the_sdks_may_still_tell(
    sandbox: Sandbox,
) -> None:
    some = site(identity={"anonymous": "off"})

    assert await device_cookie(some) == "moe_uuid"
    ids = await fetched_with(some, sandbox, f"moe_device={DEVICE}")
    assert ids["visitor_id"] == DEVICE


@pytest.mark.parametrize(
    ("sections", "headers"),
    [
        ({"consent": {"given_by": {"cookie": "consent"}, "without": "anonymous"}}, {}),
        ({"bots": {"personalize": "on"}}, {"user-agent": "Googlebot/2.1"}),
    ],
)
async def test_of_whom_nothing_may_be_known_it_is_not_asked_for(
    sections: dict[str, Any], headers: dict[str, str], sandbox: Sandbox
) -> None:
    page = await site(**sections).get(headers=headers)

    assert "data-moe-web-sdk" not in page.text


# --- handed over -------------------------------------------------------------


async def test_it_is_kept_in_a_cookie_that_scripts_do_not_see(sandbox: Sandbox) -> None:
    answer = await hand_over(site())
    https = await site().request(
        "POST", "/_moe/d", headers=OWN, content=DEVICE, base_url="https://shop.example"
    )

    cookie = f"moe_device={DEVICE}; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax"
    assert answer.status_code == 204
    assert answer.headers["set-cookie"] == cookie
    assert answer.headers["cache-control"] == "no-store"
    assert https.headers["set-cookie"] == f"{cookie}; Secure"
    # Not where the SDK has a cookie of its own, nor by another method.
    own = await hand_over(site(), cookie=f"moe_uuid={OTHER}")
    assert (own.status_code, own.headers.get("set-cookie")) == (204, None)
    got = await site().get("/_moe/d")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("cookie", "ids"),
    [
        (f"moe_device={DEVICE}; moe_visitor={MINTED}", (None, DEVICE)),
        # Until a customer is known.
        (f"customer_id=alice; moe_device={DEVICE}", ("alice", None)),
        # The SDK's own cookie wins.
        (f"moe_device={DEVICE}; moe_uuid={OTHER}", (None, OTHER)),
        # We cannot have set this one.
        (f"moe_device=bob@shop.example; moe_visitor={MINTED}", (None, MINTED)),
    ],
)
async def test_the_next_fetch_has_it(
    cookie: str, ids: tuple[str | None, str | None], sandbox: Sandbox
) -> None:
    fetched = await fetched_with(site(), sandbox, cookie)

    assert (fetched["customer_id"], fetched["visitor_id"]) == ids


async def test_only_pages_of_the_site_hand_it_over(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await hand_over(site(), sec_fetch_site="same-site")

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "device_refused reason=other_site" in caplog.text
    assert DEVICE not in caplog.text


@pytest.mark.parametrize(
    ("sections", "headers"),
    [
        ({"consent": {"given_by": {"cookie": "consent"}}}, {}),
        ({"consent": {}}, {"sec_gpc": "1"}),
        ({}, {"user_agent": "Googlebot/2.1"}),
    ],
)
async def test_of_whom_nothing_may_be_known_it_is_not_kept(
    sections: dict[str, Any], headers: dict[str, str], sandbox: Sandbox
) -> None:
    answer = await hand_over(site(**sections), **headers)

    assert (answer.status_code, answer.headers.get("set-cookie")) == (204, None)


async def test_it_goes_with_the_consent(sandbox: Sandbox) -> None:
    some = site(consent={"given_by": {"cookie": "consent"}})
    cookies = f"moe_device={DEVICE}; moe_visitor={MINTED}"

    page = await some.get(headers={"cookie": cookies})

    assert page.headers.get_list("set-cookie") == [
        "moe_visitor=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
        "moe_device=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
    ]


# --- a visitor who becomes somebody else between a page and its click ---------


MINTED_COOKIE, BY_CUSTOMER = f"moe_visitor={MINTED}", "; customer_id=alice"


@pytest.mark.parametrize(
    ("before", "after", "counted_for"),
    [
        (MINTED_COOKIE, f"{MINTED_COOKIE}; moe_device={DEVICE}", {MINTED}),
        (MINTED_COOKIE, f"{MINTED_COOKIE}; moe_uuid={DEVICE}", {MINTED}),
        (MINTED_COOKIE, MINTED_COOKIE + BY_CUSTOMER, {MINTED}),
        (f"moe_uuid={DEVICE}", f"moe_uuid={DEVICE}{BY_CUSTOMER}", {DEVICE}),
        (f"moe_device={DEVICE}", f"moe_device={DEVICE}{BY_CUSTOMER}", {DEVICE}),
        # Other visitors.
        (MINTED_COOKIE, "", set()),
        (MINTED_COOKIE, "customer_id=alice", set()),
        (MINTED_COOKIE, f"moe_uuid={DEVICE}", set()),
        (MINTED_COOKIE, f"moe_visitor={DEVICE}", set()),
        (MINTED_COOKIE, f"{MINTED_COOKIE}; moe_dis=1", set()),
    ],
)
async def test_what_a_page_has_counts_for_whom_it_was_made(
    before: str, after: str, counted_for: set[str], sandbox: Sandbox
) -> None:
    some = site(consent={})
    page = await some.get(headers={"cookie": before})
    [link] = re.findall(r"/_moe/c/[\w.-]+", page.text)
    [mark] = re.findall(r'data-moe="(.*?)"', page.text)

    answer = await some.get(link, headers={"cookie": after})
    await hand_over(some, f"c {mark} 1", path="/_moe/e", cookie=after)
    await some.delivered()

    assert answer.headers["location"] == "/shop"
    clicks = [one for one in sandbox.events if one["b_id"]]
    assert {one["b_id"] for one in clicks} == (
        {"Link", "Mark"} if counted_for else set()
    )
    assert {one["customer_id"] for one in clicks} == counted_for
