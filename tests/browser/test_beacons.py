from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from moe_middleware import Action, Settings, SettingsError
from moe_middleware.browser import SCRIPT, SCRIPT_NAME
from moe_middleware.browser.beacons import RATE
from moe_middleware.browser.marks import MAX_SIGNALS
from moe_middleware.sandbox import Sandbox

from ..sites import Clock, Site, rendered, settings

KEY = "homepage-banner"
HOST = "http://shop.example"
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
    body: bytes | AsyncIterator[bytes] | None = None,
    customer: str | None = "alice",
    headers: dict[str, str] | None = None,
) -> int:
    """Send a beacon; return the answer's status."""
    sent = OWN | {"user-agent": "Mozilla/5.0 Firefox/145.0"} | (headers or {})
    if customer is not None:
        sent["cookie"] = f"customer_id={customer}"
    transport = httpx.ASGITransport(some.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as browser:
        content = "\n".join(lines).encode() if body is None else body
        answer = await browser.post("/_moe/e", headers=sent, content=content)
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


async def test_tracked_and_seen_is_one_impression(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        attrs = found.show(KEY).attrs()
        return HTMLResponse(f"<p {attrs}>{found.track_impression(KEY)}")

    some = site(handler)
    [token] = marks(await some.get(customer="alice"))

    await tell(some, f"s {token}")
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


async def test_what_was_tracked_before_is_not_watched(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        found.track_impression(KEY)
        return HTMLResponse(f"<p {found.show(KEY).attrs('Shop Now')}>")

    some = site(handler)
    [token] = marks(await some.get(customer="alice"))

    assert await tell(some, f"s {token}") == 204
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


async def test_a_click_names_its_element_and_an_impression_does_not() -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))

    await tell(some, f"c {button} 1", f"s {button}")
    claims = await some.runtime.outbox.claim(limit=10, lease_for=0)

    elements = {claim.event.action: claim.event.b_id for claim in claims}
    assert elements == {Action.CLICK: "Shop Now", Action.IMPRESSION: None}


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


async def test_clicks_count_each_and_a_replay_does_not(sandbox: Sandbox) -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))

    for number in (1, 2, 1):
        assert await tell(some, f"c {button} {number}") == 204
    await some.delivered()
    await tell(some, f"c {button} 2")
    await some.delivered()

    assert sandbox.clicks(KEY, "Shop Now") == 2


async def test_an_element_without_an_id_counts_no_clicks(sandbox: Sandbox) -> None:
    some = site()
    page = await some.get(customer="alice")
    _, box = marks(page)

    assert 'data-moe-on="click seen"' in page.text
    assert 'data-moe-on="seen"' in page.text
    assert await tell(some, f"c {box} 1") == 204
    await some.delivered()

    assert sandbox.events == []


@pytest.mark.parametrize(
    "options",
    [
        {"customer": "mallory"},
        {"customer": None},
        {"headers": {"user-agent": "Googlebot/2.1"}},
        {"headers": {"sec-purpose": "prefetch;prerender"}},
    ],
)
async def test_what_is_not_seen_and_what_others_send_is_not_counted(
    options: dict[str, Any], sandbox: Sandbox
) -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))

    assert await tell(some, f"c {button} 1", f"s {button}", **options) == 204
    await some.delivered()

    assert sandbox.events == []


async def test_forged_and_cut_tokens_are_refused_with_all_that_came_along(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))
    forged = button[:-1] + ("A" if button[-1] != "A" else "B")

    for bad in (forged, button[:-1], button[1:], "a.b", button.partition(".")[0]):
        assert await tell(some, f"c {button} 1", f"s {bad}") == 400
    await some.delivered()

    assert sandbox.events == []
    assert "beacon_refused reason=not_ours" in caplog.text
    assert button not in caplog.text


async def test_a_beacon_has_so_many_lines_and_no_more(sandbox: Sandbox) -> None:
    some = site()
    button, _ = marks(await some.get(customer="alice"))
    lines = [f"c {button} {number}" for number in range(MAX_SIGNALS + 1)]

    assert await tell(some, *lines) == 400
    assert await tell(some, *lines[1:]) == 204
    await some.delivered()

    assert sandbox.clicks(KEY) == MAX_SIGNALS


async def test_each_visitor_may_tell_so_much_in_a_time(sandbox: Sandbox) -> None:
    stopwatch = Clock(1_000.0)
    some = site(stopwatch=stopwatch)
    alices, bobs = [
        marks(await some.get(customer=customer))[0] for customer in ("alice", "bob")
    ]
    many = [[f"c {alices} {n}" for n in range(s, s + 50)] for s in (0, 50, 100)]

    assert [await tell(some, *lines) for lines in many] == [204, 204, 429]
    assert await tell(some, f"c {bobs} 1", customer="bob") == 204
    stopwatch.now += 50 * RATE.interval
    assert await tell(some, *many[2]) == 204
    assert await tell(some, f"c {alices} 999") == 429
    await some.delivered()

    assert sandbox.clicks(KEY) == 151


async def test_many_elements_of_one_impression_take_no_more_than_one(
    sandbox: Sandbox,
) -> None:
    some = site(stopwatch=lambda: 1_000.0)
    button, box = marks(await some.get(customer="alice"))
    many = [f"s {button}", f"s {box}"] * 25

    assert [await tell(some, *many) for _ in range(5)] == [204] * 5
    await some.delivered()

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


async def test_the_script_is_kept_for_ever_below_a_name_of_its_content() -> None:
    some = site()

    got, head = [await some.request(m, f"/_moe/{SCRIPT_NAME}") for m in ("GET", "HEAD")]

    assert got.content == SCRIPT
    assert got.headers["content-type"] == "text/javascript; charset=utf-8"
    assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert head.content == b""
    assert head.headers["content-length"] == str(len(SCRIPT))
    assert (await some.get("/_moe/0123456789abcdef.js")).status_code == 404


def test_the_script_is_smaller_than_two_kilobytes() -> None:
    assert len(SCRIPT) < 2048
    assert not re.search(rb"\beval\b|\bFunction\b|innerHTML|document\.write", SCRIPT)


async def test_a_page_loads_the_script_with_its_nonce() -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        return PlainTextResponse(found.script() + "\n" + found.script('"><script>'))

    plain, odd = (await site(handler).get()).text.split("\n")

    assert plain == f'<script src="/_moe/{SCRIPT_NAME}" defer></script>'
    assert 'nonce="&#34;&gt;&lt;script&gt;"' in odd


async def test_without_a_secret_nothing_is_marked_and_the_server_counts(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        attrs = found.show(KEY, "visible").attrs("Shop Now")
        return PlainTextResponse(f"{attrs}{found.script('n')}.")

    some = Site(handler)

    assert (await some.get(customer="alice")).text == "."
    assert await tell_status(some) == 404
    await some.delivered()

    assert sandbox.impressions(KEY) == 1


async def tell_status(some: Site) -> int:
    return (await some.request("POST", "/_moe/e", headers=OWN)).status_code


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
    assert isinstance(
        settings(routes=[route], secret_key="a secret of sixteen or more"), Settings
    )


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
