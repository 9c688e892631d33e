"""The sandbox's stand-in of MoEngage's Web SDK in a real Chromium, under a policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from moe_middleware.sandbox import Sandbox, sample_workspace

from ..servers import PATIENCE, wait_for
from .conftest import USER_AGENT
from .looking import complaints_of, serving, until

HERO = sample_workspace().experiences[0]
CONTEXT = {
    "cid": f"{HERO.cid_token}_F_T_WP_AB_2_P_0_AU_5A",
    "experience": HERO.name,
    "moe_locale_id": "0",
    "moe_variation_id": "2",
    "audience_name": "All Users",
    "audience_id": "5A",
    "type": "Web Personalization",
}
SHOWN, CLICKED = "MOE_WEBP_MESSAGE_SHOWN", "MOE_WEBP_MESSAGE_CLICKED"
START = [
    *("SETTINGS_FETCHED", "DEVICE_UUID"),
    *("SDK_INITIALIZED", "SDK_INITIALIZATION_COMPLETED"),
]
A_WHILE = 300
"""Milliseconds; the SDK would have started many times over."""

# Before any script of the page: what the SDK tells, and what the policy forbids.
LISTEN = """
window.heard = []; window.violations = [];
addEventListener("MOE_LIFECYCLE", event => heard.push(event.detail.name));
addEventListener("securitypolicyviolation", event =>
  violations.push(event.violatedDirective));
"""
SETUP = {"context": CONTEXT}


@dataclass
class Shop:
    """A site whose pages load the SDK, and the sandbox that they report to.

    Attributes:
        url: The site's address.
        sandbox: Mounted there at ``/sandbox``, and served at ``elsewhere`` as well.
        elsewhere: Another origin.
        html: What stands in its one page.
        origin: Where its script comes from; empty for its own mount.
    """

    url: str
    sandbox: Sandbox
    elsewhere: str
    html: str = ""
    origin: str = ""

    def tag(self, attributes: str = 'data-app-id="sandbox"') -> str:
        src = f"{self.origin or '/sandbox'}/_sandbox/web_sdk.js"
        return f'<script src="{src}" {attributes} nonce="n0nce"></script>'

    def script(self, code: str) -> str:
        return f'<script nonce="n0nce">{code}</script>'

    def events(self) -> list[tuple[str, str, str | None]]:
        """What was stored: the action, whose, and the element."""
        return [
            (event["action"], event["customer_id"], event["b_id"])
            for event in self.sandbox.events
        ]

    def reach(self, count: int) -> list[tuple[str, str, str | None]]:
        wait_for(lambda: len(self.sandbox.events) >= count, what=f"{count} events")
        return self.events()


@pytest.fixture(scope="module")
def served() -> Iterator[Shop]:
    async def page(request: Request) -> Response:
        policy = (
            "default-src 'none'; script-src 'nonce-n0nce'; "
            f"connect-src {here.origin or here.url}"
        )
        data = json.dumps(CONTEXT)
        return HTMLResponse(
            f'<!doctype html><meta charset="utf-8"><title>Shop</title>'
            f'<script type="application/json" id="context">{data}</script>{here.html}',
            headers={"content-security-policy": policy},
        )

    sandbox = Sandbox()
    site = Starlette(routes=[Mount("/sandbox", sandbox), Route("/{rest:path}", page)])
    with ExitStack() as stack:
        url = stack.enter_context(serving(site))
        elsewhere = stack.enter_context(serving(sandbox))
        here = Shop(url, sandbox, elsewhere)
        yield here


@pytest.fixture
def shop(served: Shop) -> Shop:
    served.sandbox.reset()
    served.origin = ""
    served.html = served.tag()
    return served


@pytest.fixture
def page(browser: Browser, shop: Shop) -> Iterator[Page]:
    context = browser.new_context(base_url=shop.url, user_agent=USER_AGENT)
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(LISTEN)
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def complaints(page: Page) -> Iterator[list[str]]:
    """What the page's console says; a test that expects something empties it.

    No policy is violated.
    """
    complaints = complaints_of(page, ("error", "warning"))
    yield complaints
    assert page.evaluate("violations") == []
    assert complaints == []


def heard(page: Page) -> list[str]:
    names: list[str] = page.evaluate("heard")
    return names


def open_page(page: Page) -> None:
    """Open the page and wait until its SDK is there."""
    page.goto("/")
    until(page, "heard.includes('SDK_INITIALIZATION_COMPLETED')")


def call(page: Page, code: str, **given: Any) -> Any:
    """Run code that knows the SDK as ``sdk`` and ``context``."""
    head = "given => { const sdk = Moengage, context = given.context;"
    return page.evaluate(f"{head} return {code} }}", SETUP | given)


def uuid_of(page: Page) -> str:
    found: str = call(page, "sdk.device.getUuid()")
    return found


def memory(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("JSON.parse(localStorage.MOE_DATA ?? '{}')")
    return found


def cookies(context: BrowserContext) -> dict[str, str]:
    return {one["name"]: one["value"] for one in context.cookies()}


# --- the start -------------------------------------------------------------------


def test_page_hears_of_the_start_and_of_each_event(shop: Shop, page: Page) -> None:
    open_page(page)
    started = heard(page)

    call(page, "sdk.web_p.trackImpression(context)")
    call(page, "sdk.web_p.trackClick(context, {widget_id: 'Buy'})")

    assert started == START
    assert heard(page) == [*START, "EVENT_TRACKED", "EVENT_TRACKED"]
    uuid = uuid_of(page)
    assert shop.reach(2) == [(SHOWN, uuid, None), (CLICKED, uuid, "Buy")]
    shown, clicked = shop.sandbox.events
    assert shown["attributes"] == CONTEXT | {"campaign_id": HERO.cid_token}
    assert clicked["attributes"] == shown["attributes"] | {"widget_id": "Buy"}
    assert {event["via"] for event in shop.sandbox.events} == {"web_sdk"}
    assert {event["device_uuid"] for event in shop.sandbox.events} == {uuid}
    # By either API, and as the page is left.
    call(page, "sdk.web_p.trackImpression(JSON.stringify(context))")
    call(page, "sdk.personalize.trackImpression(context)")
    call(page, "sdk.personalize.trackClick(context, {button_id: 'Buy', cid: 'no'})")
    call(page, "(sdk.web_p.trackClick(context), location.assign('/next'))")
    page.wait_for_url("**/next")
    shop.reach(6)
    assert shop.sandbox.impressions(HERO.key, "2") == 3
    assert shop.sandbox.clicks(HERO.key, "Buy") == 2
    assert shop.sandbox.clicks(HERO.key) == 3


EARLY = """
const context = JSON.parse(document.getElementById("context").textContent);
const heardOf = [];
Moengage = moe({appId: "sandbox"});
Moengage.web_p.trackImpression(context);
Moengage.identifyUser("alice").then(() => heardOf.push("alice"));
Moengage.web_p.trackClick(JSON.stringify(context), {widget_id: "Buy"});
window.early = [Moengage.initialised, Moengage.device.getUuid() ?? null, heard.length];
addEventListener("MOE_LIFECYCLE", ({detail}) => {
  if (detail.name === "SDK_INITIALIZED") Moengage.personalize.trackImpression(context);
});
"""


def test_calls_before_the_start_wait_for_it_in_their_order(
    shop: Shop, page: Page
) -> None:
    shop.html = shop.tag("") + shop.script(EARLY)

    open_page(page)
    until(page, "heardOf.length")

    assert page.evaluate("early") == [0, None, 0]
    uuid = uuid_of(page)
    assert shop.reach(3) == [
        (SHOWN, uuid, None),
        (CLICKED, "alice", "Buy"),
        (SHOWN, "alice", None),
    ]
    assert heard(page) == START + ["EVENT_TRACKED"] * 3
    assert page.evaluate("Moengage.initialised") == 1


def test_calls_of_the_documented_snippet_are_made_up_for(
    shop: Shop, page: Page
) -> None:
    shop.html = (
        shop.script(
            "var moengage_q = [{f: 'add_unique_user_id', a: ['bob']},"
            " {f: 'onsite.getData', a: []}, {f: 'track_event', a: ['seen']},"
            " {f: 'web_p.trackImpression',"
            " a: [document.getElementById('context').textContent]}]"
        )
        + shop.tag()
    )

    open_page(page)

    assert shop.reach(1) == [(SHOWN, "bob", None)]


def test_configuration_may_use_the_old_names_and_needs_an_app_id(
    shop: Shop, page: Page, complaints: list[str]
) -> None:
    shop.html = shop.tag("") + shop.script(
        "Moengage = moe({app_id: 'sandbox', debug_logs: 1, disable_cookies: true})"
    )
    open_page(page)
    call(page, "sdk.web_p.trackImpression(context)")

    assert len(shop.reach(1)) == 1
    assert page.context.cookies() == []
    assert complaints == [
        "Web SDK: app_id is an old name, it is appId now.",
        "Web SDK: disable_cookies is an old name, it is disableCookies now.",
        "Web SDK: debug_logs is an old name, it is logLevel now.",
    ]
    complaints.clear()
    shop.html = shop.tag("") + shop.script("Moengage = moe({})")
    page.goto("/")
    call(page, "sdk.web_p.trackImpression(context)")
    page.wait_for_timeout(A_WHILE)

    assert (heard(page), len(shop.events())) == ([], 1)
    assert "appId is missing" in complaints.pop()


def test_one_sdk_a_page_whatever_is_called_or_loaded_twice(
    shop: Shop, page: Page, complaints: list[str]
) -> None:
    shop.html = shop.tag() + shop.tag()

    open_page(page)
    page.evaluate("window.again = moe({appId: 'another'})")
    page.wait_for_timeout(A_WHILE)

    assert page.evaluate("again === Moengage")
    assert page.evaluate("typeof MoEngage") == "undefined"
    assert heard(page) == START
    assert len(complaints) == 1
    assert "load it once" in complaints.pop()


# --- events ----------------------------------------------------------------------


def test_what_has_no_cid_and_a_login_without_an_id_are_rejected(
    shop: Shop, page: Page, complaints: list[str]
) -> None:
    wrong: list[object] = [None, {}, {"cid": ""}, {"cid": 7}, "{", "", "null", 7]
    open_page(page)

    for one in wrong:
        call(page, "sdk.web_p.trackImpression(given.wrong)", wrong=one)
        call(page, "sdk.web_p.trackClick(given.wrong)", wrong=one)
    call(page, "sdk.web_p.trackClick(context)")

    assert [action for action, *_ in shop.reach(1)] == [CLICKED]
    assert heard(page) == [*START, "EVENT_TRACKED"]
    assert ["has no cid" in one for one in complaints] == [True] * 2 * len(wrong)
    complaints.clear()
    no_ids: tuple[object, ...] = ("", None, {}, {"uid": ""}, [])
    for no_id in no_ids:
        refusal = call(page, "sdk.identifyUser(given.wrong).catch(String)", wrong=no_id)
        assert refusal == "Error: Web SDK: identifyUser needs an id."


def test_reports_reach_another_origin_and_without_beacons(
    shop: Shop, page: Page
) -> None:
    for count, origin in enumerate((shop.elsewhere, "")):
        shop.origin = origin
        shop.html = shop.tag()
        open_page(page)
        call(page, "sdk.web_p.trackImpression(context)")
        assert shop.reach(2 * count + 1)[-1] == (SHOWN, uuid_of(page), None)
        # The browser does not take it.
        page.evaluate("Navigator.prototype.sendBeacon = () => false")
        call(page, "sdk.web_p.trackImpression(context)")
        assert len(shop.reach(2 * count + 2)) == 2 * count + 2


# --- the device ------------------------------------------------------------------


def test_device_has_one_id_in_cookie_memory_and_call(shop: Shop, page: Page) -> None:
    open_page(page)
    uuid = uuid_of(page)
    (cookie,) = page.context.cookies()

    assert (cookie["name"], cookie["value"]) == ("moe_uuid", uuid)
    assert (cookie["path"], cookie["sameSite"]) == ("/", "Lax")
    # Two years, of which browsers grant 400 days.
    assert cookie["expires"] - page.evaluate("Date.now() / 1000") > 300 * 24 * 3600
    assert memory(page)["USER_DATA"]["deviceUuid"] == uuid
    assert uuid[14] == "4"
    for lost, same in (
        ("", True),
        ("cookie", True),
        ("memory", True),
        ("cookie memory", False),
        ("cookie spoilt", False),
    ):
        uuid = uuid_of(page)
        if "cookie" in lost:
            page.context.clear_cookies()
        if "memory" in lost:
            page.evaluate("localStorage.clear()")
        if "spoilt" in lost:
            page.evaluate("localStorage.MOE_DATA = '<'")
        open_page(page)

        assert (uuid_of(page) == uuid) is same, lost
        assert cookies(page.context)["moe_uuid"] == uuid_of(page)
        assert memory(page)["USER_DATA"]["deviceUuid"] == uuid_of(page)


def test_without_cookies_the_memory_alone_knows_it(shop: Shop, page: Page) -> None:
    for attributes, config in (
        ('data-app-id="sandbox" data-disable-cookies', "moe"),
        ("", "moe({appId: 'sandbox', disableCookies: true})"),
    ):
        shop.html = shop.tag(attributes) + shop.script(f"window.made = {config}")
        open_page(page)
        uuid = uuid_of(page)
        open_page(page)
        call(page, "sdk.disableDataTracking()")

        assert uuid_of(page) == uuid == memory(page)["USER_DATA"]["deviceUuid"]
        assert memory(page)["moe_dt_d"] == "true"
        assert page.context.cookies() == []
        page.evaluate("localStorage.clear()")


def test_browser_without_storage_is_known_by_its_cookie(shop: Shop, page: Page) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage',"
        " {get() { throw new DOMException('denied', 'SecurityError') }})"
    )
    open_page(page)
    uuid = uuid_of(page)

    open_page(page)

    assert uuid_of(page) == uuid == cookies(page.context)["moe_uuid"]


# --- who -------------------------------------------------------------------------


def test_login_and_logout_change_whose_the_events_are(shop: Shop, page: Page) -> None:
    shown = "sdk.web_p.trackImpression(context)"
    open_page(page)
    uuid = uuid_of(page)
    call(page, shown)
    shop.reach(1)
    call(page, f"sdk.identifyUser('alice').then(() => {shown})")
    shop.reach(2)
    open_page(page)
    call(page, shown)
    shop.reach(3)
    call(
        page,
        f"sdk.identifyUser({{uid: 'bob', u_em: 'bob@x.example'}}).then(() => {shown})",
    )
    shop.reach(4)
    call(page, f"sdk.logoutUser().then(() => {shown})")
    shop.reach(5)
    call(page, f"sdk.add_unique_user_id(7).then(() => {shown})")
    shop.reach(6)
    call(page, f"sdk.destroy_session().then(() => {shown})")
    who = [customer_id for _, customer_id, _ in shop.reach(7)]

    assert who == [uuid, "alice", "alice", "bob", uuid, "7", uuid]
    assert uuid_of(page) == uuid


# --- who is left alone -----------------------------------------------------------


def test_sdk_that_is_switched_off_forgets_and_stays_off(shop: Shop, page: Page) -> None:
    open_page(page)
    uuid = uuid_of(page)

    call(page, "sdk.disableSdk()")
    call(page, "sdk.web_p.trackImpression(context)")
    call(page, "sdk.identifyUser('alice')")

    assert call(page, "[sdk.isSdkEnabled(), sdk.device.getUuid() ?? null]") == [
        False,
        None,
    ]
    assert cookies(page.context) == {"moe_dis": "true"}
    assert memory(page) == {"moe_dis": "true"}
    page.goto("/")
    page.wait_for_timeout(A_WHILE)
    assert heard(page) == []
    assert call(page, "sdk.isSdkEnabled()") is False

    call(page, "sdk.enableSdk()")
    until(page, "heard.includes('SDK_INITIALIZATION_COMPLETED')")
    call(page, "sdk.web_p.trackImpression(context)")

    another = uuid_of(page)
    assert shop.reach(1) == [(SHOWN, another, None)]
    assert another != uuid
    assert call(page, "sdk.isSdkEnabled()") is True
    assert cookies(page.context) == {"moe_dis": "false", "moe_uuid": another}


def test_sdk_may_begin_switched_off(shop: Shop, page: Page) -> None:
    shop.html = shop.tag("") + shop.script(
        "Moengage = moe({appId: 'sandbox', disableSdk: true})"
    )

    page.goto("/")
    page.wait_for_timeout(A_WHILE)
    assert (heard(page), page.context.cookies()) == ([], [])
    call(page, "sdk.enableSdk()")
    until(page, "heard.includes('SDK_INITIALIZED')")
    open_page(page)

    assert heard(page) == START


def test_sdk_that_is_switched_off_while_it_starts_tells_nothing(
    shop: Shop, page: Page
) -> None:
    shop.html = shop.tag("") + shop.script(
        "const context = JSON.parse(document.getElementById('context').textContent);"
        "Moengage = moe({appId: 'sandbox'});"
        "Moengage.web_p.trackImpression(context);"
        "Moengage.identifyUser('alice').then(() => document.title = 'kept');"
        "addEventListener('MOE_LIFECYCLE', ({detail}) => {"
        "  if (detail.name === 'DEVICE_UUID') Moengage.disableSdk(); });"
    )

    page.goto("/")
    until(page, "document.title === 'kept'")
    page.wait_for_timeout(A_WHILE)

    assert heard(page) == START[:2]
    assert cookies(page.context) == {"moe_dis": "true"}
    assert shop.events() == []


def test_tracking_that_is_switched_off_leaves_the_device_known(
    shop: Shop, page: Page
) -> None:
    open_page(page)
    uuid = uuid_of(page)

    call(page, "sdk.disableDataTracking()")
    call(page, "sdk.web_p.trackImpression(context)")
    open_page(page)
    call(page, "sdk.web_p.trackImpression(context)")

    assert cookies(page.context) == {"moe_uuid": uuid, "moe_dt_d": "true"}
    assert heard(page) == START
    call(page, "sdk.enableDataTracking()")
    call(page, "sdk.web_p.trackClick(context)")
    assert shop.reach(1) == [(CLICKED, uuid, None)]
    assert cookies(page.context)["moe_dt_d"] == "false"


HEADLESS = "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/145.0.0.0 Safari/537.36"
CRAWLER = "Mozilla/5.0 (compatible; TeaCrawler/1.0)"


def test_bots_are_refused(shop: Shop, page: Page, complaints: list[str]) -> None:
    for agent, attributes, config, starts in (
        (HEADLESS, "", "{appId: 'sandbox'}", False),
        (HEADLESS, 'data-bots="off"', "{appId: 'sandbox'}", True),
        (HEADLESS.lower(), "", "{appId: 'sandbox'}", False),
        (CRAWLER, "", "{appId: 'sandbox'}", True),
        (CRAWLER, "", "{appId: 'sandbox', bots_list: ['TeaCrawler']}", False),
    ):
        shop.sandbox.reset()
        page.context.clear_cookies()
        agent = f"Object.defineProperty(navigator, 'userAgent', {{value: '{agent}'}});"
        starting = shop.script(f"Moengage = moe({config})")
        shop.html = shop.script(agent) + shop.tag(attributes) + starting
        page.goto("/")
        call(page, "sdk.web_p.trackImpression(context)")
        if starts:
            shop.reach(1)
        else:
            page.wait_for_timeout(A_WHILE)

        assert heard(page) == ([*START, "EVENT_TRACKED"] if starts else []), agent
        assert [*cookies(page.context)] == (["moe_uuid"] if starts else [])
        assert len(shop.events()) == starts
        page.evaluate("localStorage.clear()")
    assert complaints.pop() == "Web SDK: bots_list is an old name, it is botsList now."


def test_policy_that_does_not_know_the_nonce_is_seen_to_forbid_it(
    shop: Shop, page: Page, complaints: list[str]
) -> None:
    """What the other tests assert of the policy can fail."""
    shop.html = shop.tag().replace("n0nce", "another")
    page.goto("/")

    until(page, "violations.length")
    assert page.evaluate("violations") == ["script-src-elem"]
    assert page.evaluate("typeof moe") == "undefined"
    page.goto("about:blank")
    complaints.clear()


def test_delay_is_the_pages_to_choose(shop: Shop, page: Page) -> None:
    shop.html = shop.tag('data-app-id="sandbox" data-delay="600000"')
    page.clock.install(time=1_800_000_000)
    page.clock.pause_at(1_800_000_001)

    page.goto("/")
    page.clock.run_for(599_999)
    before = heard(page)
    page.clock.run_for(2)

    assert (before, heard(page)) == ([], START)
