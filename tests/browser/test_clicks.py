"""Click links, followed: in the whole flow, and as an attacker would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from moe_middleware.sandbox import Sandbox

from ..sites import Site, rendered

KEY = "homepage-banner"
SECRET = "a secret key of these tests"
LINK = re.compile(r"/_moe/c/[\w.-]+")
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PAGE = """
{%- experience "homepage-banner" as banner -%}
<a href="{{ banner.click_url(target, "Shop Now") }}">{{ banner.Title }}</a>
{%- endexperience -%}
"""


def site(target: str = "/shop", **sections: Any) -> Site:
    return Site(
        rendered(PAGE.replace("target", repr(target))),
        **{"secret_key": SECRET, "fetch": {"timeout": 5}, **sections},
    )


async def link_of(one: Site, customer: str | None = "alice") -> str:
    page = await one.get(customer=customer)
    found = LINK.search(page.text)
    assert found, page.text
    return found[0]


def location(response: httpx.Response) -> str:
    assert response.status_code == 302
    return str(response.headers["location"])


async def test_a_click_leads_on_and_counts_with_its_element(sandbox: Sandbox) -> None:
    one = site("/shop?from=banner&x=1#top")

    for _ in range(3):  # each page has a link of its own
        response = await one.get(await link_of(one), customer="alice")
    await one.delivered()

    assert location(response) == "/shop?from=banner&x=1#top"
    assert sandbox.clicks(KEY, "Shop Now") == 3
    assert response.headers["cache-control"] == "no-store"
    assert "referrer-policy" in response.headers


async def test_its_event_is_stored_before_the_redirect_leaves(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    one = site(events={"outbox": f"sqlite:///{tmp_path}/outbox.db", "relay": "off"})
    link = await link_of(one)
    await one.get(link, customer="alice")

    counts = await one.runtime.outbox.count()
    await one.runtime.stop()

    assert (counts.waiting, counts.unsaved) == (2, 0)


async def test_what_is_no_click_leads_on_and_does_not_count(sandbox: Sandbox) -> None:
    one = site()
    link = await link_of(one)

    for method, headers in (
        ("HEAD", {}),
        ("GET", {"user-agent": GOOGLEBOT}),
        ("GET", {"sec-purpose": "prefetch"}),
    ):
        response = await one.request(method, link, customer="alice", headers=headers)
        assert location(response) == "/shop"
    await one.delivered()

    assert sandbox.clicks(KEY) == 0


async def test_an_anonymous_visitors_click_is_counted_with_their_own_id(
    sandbox: Sandbox,
) -> None:
    one = site()
    page = await one.get()
    cookie = page.headers["set-cookie"].partition(";")[0]
    [link] = LINK.findall(page.text)

    await one.get(link, headers={"cookie": cookie})
    await one.delivered()

    [event] = [event for event in sandbox.events if event["action"].endswith("CLICKED")]
    assert event["customer_id"] == cookie.partition("=")[2]


async def test_a_host_that_is_no_longer_allowed_is_not_led_to(sandbox: Sandbox) -> None:
    link = await link_of(
        site("https://partner.example/x", clicks={"hosts": ["partner.example"]})
    )

    assert (await site().get(link, customer="alice")).status_code == 404


async def test_a_rotated_secret_still_reads_older_links(sandbox: Sandbox) -> None:
    link = await link_of(site(secret_key="the older secret key"))
    one = site(secret_key=["the newer secret key", "the older secret key"])

    response = await one.get(link, customer="alice")
    await one.delivered()

    assert location(response) == "/shop"
    assert sandbox.clicks(KEY) == 1


async def test_without_a_secret_links_are_plain_and_the_path_is_the_apps(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse("mine")

    one = Site(handler, path="/{rest:path}")
    page = await site(secret_key=None).get(customer="alice")

    assert 'href="/shop"' in page.text
    assert (await one.get("/_moe/c/x")).text == "mine"


async def test_what_the_outbox_cannot_store_still_leads_on(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    outbox = f"sqlite:///{tmp_path}/missing/outbox.db"
    one = site(events={"outbox": outbox, "relay": "off"})

    response = await one.get(await link_of(one), customer="alice")
    await one.runtime.stop()

    assert location(response) == "/shop"
