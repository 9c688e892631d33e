from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from moe_middleware import SettingsError
from moe_middleware.browser import SCRIPT, SCRIPT_NAME
from moe_middleware.browser.beacons import RATE
from moe_middleware.browser.marks import MAX_SIGNALS
from moe_middleware.sandbox import Sandbox

from ..sites import Clock, Site, rendered, settings

KEY = "homepage-banner"
OWN = {"sec-fetch-site": "same-origin"}
PAGE = """
{%- experience "homepage-banner" as banner -%}
<a {{ banner.attrs("Shop Now") }}>{{ banner.Title }}</a><b {{ banner.attrs() }}></b>
{%- endexperience -%}
"""


def site(
    handler: Any = None, *, impression: str | None = "visible", **sections: Any
) -> Site:
    route = {"path": "/", "experiences": [KEY], "impression": impression}
    return Site(
        handler or rendered(PAGE),
        routes=[route],
        secret_key="a secret of sixteen or more",
        **sections,
    )


def marks(response: httpx.Response) -> list[str]:
    return re.findall(r'data-moe="(.*?)"', response.text)


async def tell(
    some: Site,
    *lines: str,
    customer: str | None = "alice",
    headers: dict[str, str] | None = None,
) -> int:
    """Send a beacon; return the response's status."""
    sent = OWN | {"user-agent": "Mozilla/5.0 Firefox/145.0"} | (headers or {})
    content = "\n".join(lines)
    answer = await some.request(
        "POST", "/_moe/e", customer=customer, headers=sent, content=content
    )
    assert answer.status_code != 204 or answer.content == b""
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    return answer.status_code


async def test_a_watched_impression_counts_once_it_is_seen_and_not_before(
    sandbox: Sandbox,
) -> None:
    some = site()
    button, box = marks(await some.get(customer="alice"))
    await some.delivered()
    assert sandbox.impressions(KEY) == 0

    for token in (button, box, button):
        assert await tell(some, f"s {token}") == 204
    await some.delivered()

    assert sandbox.impressions(KEY) == 1
    assert sandbox.events[0]["customer_id"] == "alice"


async def test_an_impression_of_the_response_is_not_counted_by_the_browser_too(
    sandbox: Sandbox,
) -> None:
    some = site(impression=None)
    page = await some.get(customer="alice")
    [token] = marks(page)

    assert 'data-moe-on="click"' in page.text
    assert await tell(some, f"s {token}") == 204
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


@pytest.mark.parametrize("tracked", ["before", "after"])
async def test_tracked_and_seen_is_one_impression(
    sandbox: Sandbox, tracked: str
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        if tracked == "before":
            found.track_impression(KEY)
        attrs = found.show(KEY).attrs("Shop Now")
        if tracked == "after":
            found.track_impression(KEY)
        return HTMLResponse(f"<p {attrs}>")

    some = site(handler)
    [token] = marks(await some.get(customer="alice"))

    assert await tell(some, f"s {token}") == 204
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [("response", "visible", 1), ("visible", "response", 0)],
)
async def test_the_first_showing_decides_when_it_counts(
    first: Any, second: Any, counted: int, sandbox: Sandbox
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        found.show(KEY, first)
        return HTMLResponse(f"<p {found.show(KEY, second).attrs()}>")

    some = site(handler)
    tokens = marks(await some.get(customer="alice"))
    await some.delivered()
    assert sandbox.impressions(KEY) == counted

    for token in tokens:
        await tell(some, f"s {token}")
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


async def test_clicks_of_elements_with_an_id_count_each_and_a_replay_does_not(
    sandbox: Sandbox,
) -> None:
    some = site()
    page = await some.get(customer="alice")
    button, box = marks(page)
    assert 'data-moe-on="click seen"' in page.text
    assert 'data-moe-on="seen"' in page.text

    for number in (1, 2, 1):
        assert await tell(some, f"c {button} {number}", f"s {button}") == 204
    assert await tell(some, f"c {box} 1") == 204
    await some.delivered()
    await tell(some, f"c {button} 2")
    await some.delivered()

    assert sandbox.clicks(KEY, "Shop Now") == sandbox.clicks(KEY) == 2
    # An impression names no element.
    elements = {one["action"].rpartition("_")[2]: one["b_id"] for one in sandbox.events}
    assert elements == {"CLICKED": "Shop Now", "SHOWN": None}


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"user-agent": "Googlebot/2.1"}},
        {"headers": {"sec-purpose": "prefetch;prerender"}},
    ],
)
async def test_what_bots_and_prefetches_send_is_not_counted(
    options: dict[str, Any], sandbox: Sandbox
) -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))

    assert await tell(some, f"c {button} 1", f"s {button}", **options) == 204
    await some.delivered()

    assert sandbox.events == []


async def test_one_forged_token_refuses_all_that_came_along(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))

    assert await tell(some, f"c {button} 1", f"s {button[:-1]}") == 400
    await some.delivered()

    assert sandbox.events == []
    assert "beacon_refused reason=not_ours" in caplog.text
    assert button not in caplog.text


async def test_each_visitor_may_tell_so_much_in_a_time(sandbox: Sandbox) -> None:
    stopwatch = Clock(1_000.0)
    some = site(stopwatch=stopwatch)
    (alices, box), (bobs, _) = [
        marks(await some.get(customer=customer)) for customer in ("alice", "bob")
    ]
    many = [
        [f"c {alices} {n}" for n in range(start, start + MAX_SIGNALS)]
        for start in (0, 50, 100)
    ]

    assert [await tell(some, *lines) for lines in many] == [204, 204, 429]
    assert await tell(some, f"c {bobs} 1", customer="bob") == 204
    stopwatch.now += 50 * RATE.interval
    assert await tell(some, *many[2]) == 204
    assert await tell(some, f"c {alices} 999") == 429
    # Many elements of one impression take no more than one.
    stopwatch.now += 5 * RATE.interval
    seen = [f"s {alices}", f"s {box}"] * 25
    assert [await tell(some, *seen) for _ in range(5)] == [204] * 5
    await some.delivered()

    assert sandbox.clicks(KEY) == 151
    assert sandbox.impressions(KEY) == 1


async def test_a_beacon_that_cannot_be_stored_is_not_confirmed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    some = site(events={"outbox": f"sqlite:///{tmp_path}/file/outbox.db"})
    button, _ = marks(await some.get(customer="alice"))

    status = await tell(some, f"c {button} 1")
    await some.delivered()

    # A disk that takes its time may still take it.
    assert status == (204 if "beacon_not_stored_yet" in caplog.text else 503)
    assert "beacon_not_stored" in caplog.text


# --- what stands in pages ------------------------------------------------------


async def test_a_page_loads_the_script_which_is_kept_for_ever_and_small() -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse(request.state.experiences.script())

    some = site(handler)
    got, head = [await some.request(m, f"/_moe/{SCRIPT_NAME}") for m in ("GET", "HEAD")]

    tag = f'<script src="/_moe/{SCRIPT_NAME}" defer></script>'
    assert (await some.get()).text == tag
    assert got.content == SCRIPT
    assert got.headers["content-type"] == "text/javascript; charset=utf-8"
    assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert head.content == b""
    assert head.headers["content-length"] == str(len(SCRIPT))
    assert (await some.get("/_moe/0123456789abcdef.js")).status_code == 404
    assert len(SCRIPT) < 2048
    assert not re.search(rb"\beval\b|\bFunction\b|innerHTML|document\.write", SCRIPT)


async def test_without_a_secret_nothing_is_marked_and_the_server_counts(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        attrs = found.show(KEY, "visible").attrs("Shop Now")
        return PlainTextResponse(f"{attrs}{found.script('n')}.")

    some = Site(handler)

    assert (await some.get(customer="alice")).text == "."
    answer = await some.request("POST", "/_moe/e", headers=OWN)
    assert answer.status_code == 404
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


async def test_bots_and_what_did_not_match_are_not_marked() -> None:
    some = site(bots={"personalize": "on"})
    bot = await some.get(headers={"user-agent": "Googlebot/2.1"})

    async def handler(request: Request) -> Response:
        return PlainTextResponse(request.state.experiences["none"].attrs("x") + ".")

    assert marks(bot) == []
    assert (await site(handler).get(customer="alice")).text == "."


def test_visible_impressions_need_a_secret() -> None:
    route = {"path": "/", "experiences": [KEY], "impression": "visible"}

    with pytest.raises(SettingsError, match="'visible' needs a secret_key"):
        settings(routes=[route])


async def test_the_last_route_that_says_so_decides_when_pages_count(
    sandbox: Sandbox,
) -> None:
    routes = [
        {"path": "/{rest:path}", "experiences": [KEY], "impression": "visible"},
        {"path": "/a", "experiences": [KEY]},
        {"path": "/b", "experiences": [KEY], "impression": "response"},
    ]

    async def handler(request: Request) -> Response:
        request.state.experiences.show(KEY)
        return PlainTextResponse("shown")

    some = Site(
        handler,
        path="/{rest:path}",
        routes=routes,
        secret_key="a secret of sixteen or more",
    )

    for path, counted in (("/", 0), ("/a", 0), ("/b", 1)):
        await some.get(path, customer="alice")
        await some.delivered()
        assert sandbox.impressions(KEY) == counted
