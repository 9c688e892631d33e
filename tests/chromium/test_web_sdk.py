"""Pages that leave their experiences to the Web SDK: the sandbox's stand-in of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.routing import Mount

from moe_middleware.sandbox import Sandbox, embedded

from ..servers import PATIENCE, wait_for
from ..sites import Site
from .conftest import KEY, USER_AGENT, site_of
from .looking import complaints_of, reach, serving, until

POLICY = (
    "default-src 'none'; img-src data:; script-src 'nonce-n0nce'; connect-src 'self'"
)
DEVICE = "window.Moengage?.device.getUuid()"
LONGER = 400
"""Milliseconds; long enough for a second report."""

SDK = """<script src="/sandbox/_sandbox/web_sdk.js" data-app-id="sandbox"
  nonce="n0nce" {}></script>"""
BANNER = """{% experience "homepage-banner" as hero %}
  <h1 {{ hero.attrs("Title") }}>{{ hero.Title }}</h1>
  <a href="{{ hero.click_url('/next', 'Shop Now') }}"
     {{ hero.attrs("Shop Now") }}><b>Go on</b></a>
{% else %}<h1>Welcome</h1>{% endexperience %}"""
REPORT = "{{ moe_web_sdk(nonce='n0nce') }}"
REPORTED = BANNER + REPORT

PAGES = {
    "/": SDK.format("defer") + REPORTED,
    "/first": SDK.format("data-delay=0") + REPORTED,
    "/slow": SDK.format("defer data-delay=700") + REPORTED,
    "/in-an-hour": SDK.format("defer data-delay=3600000") + REPORTED,
    "/personalize": SDK.format("defer")
    + REPORTED.replace("nonce=", "api='personalize', nonce="),
    "/hidden-cookie": SDK.format("defer data-disable-cookies") + REPORTED,
    "/twice": SDK.format("defer") + REPORTED + REPORT,
    "/without-sdk": REPORTED,
    "/next": SDK.format("defer") + "<p>Next</p>" + REPORT,
}


def site() -> Site:
    head = "<!doctype html><title>x</title><link rel=icon href=data:,>"
    pages = {path: head + page for path, page in PAGES.items()}
    return site_of(pages, POLICY, "web_sdk", [Mount("/sandbox", embedded())])


@pytest.fixture
def url(sandbox: Sandbox) -> Iterator[str]:
    with serving(site().app) as address:
        yield address


@pytest.fixture
def visitor(browser: Browser, url: str) -> Iterator[BrowserContext]:
    """A browser without any id yet."""
    context = browser.new_context(base_url=url, user_agent=USER_AGENT)
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


@pytest.fixture
def page(visitor: BrowserContext) -> Iterator[Page]:
    page = visitor.new_page()
    complaints = complaints_of(page)
    yield page
    assert complaints == []


LATER = """async () => {
  const page = await (await fetch("/without-sdk")).text();
  const parsed = new DOMParser().parseFromString(page, "text/html");
  document.body.replaceChildren(
    ...parsed.querySelectorAll("h1, script[data-moe-web-sdk]")
  );
}"""
"""What a single-page app does: puts another page's content into this one."""


def hand_overs(page: Page) -> list[str | None]:
    """Return the device ids that a page hands over, as they come."""
    handed: list[str | None] = []
    page.on(
        "request",
        lambda sent: (
            handed.append(sent.post_data) if sent.url.endswith("/_moe/d") else None
        ),
    )
    return handed


def log_in(context: BrowserContext, url: str, customer: str = "alice") -> None:
    context.add_cookies([{"name": "customer_id", "value": customer, "url": url}])


def visitor_ids(sandbox: Sandbox) -> list[object]:
    """Return the visitor_id of each fetch, the latest first."""
    fetches = sandbox.requests.latest(endpoint="fetch")
    return [json.loads(one.request_body).get("visitor_id") for one in fetches]


def test_an_impression_and_each_click_are_reported_by_the_sdk_alone(
    url: str, page: Page, sandbox: Sandbox
) -> None:
    log_in(page.context, url)
    # The first one before there is a cookie.
    for path in ("/hidden-cookie", "/", "/first", "/slow", "/personalize", "/twice"):
        sandbox.reset()
        page.goto(path)
        reach(lambda: sandbox.impressions(KEY), 1)
        page.evaluate("document.body.append('something new')")
        page.wait_for_timeout(LONGER)
        page.get_by_role("heading").click()
        reach(lambda: sandbox.clicks(KEY, "Title"), 1)
        page.get_by_text("Go on").click()
        page.wait_for_url("**/next")

        reach(lambda: sandbox.clicks(KEY, "Shop Now"), 1)
        assert (sandbox.impressions(KEY), sandbox.clicks(KEY)) == (1, 2), path
        assert {one["via"] for one in sandbox.events} == {"web_sdk"}, path
        assert sandbox.events[0]["action"] == "MOE_WEBP_MESSAGE_SHOWN"


def test_clicks_before_the_sdk_is_there_and_the_halves_of_double_clicks(
    url: str, page: Page, sandbox: Sandbox
) -> None:
    page.clock.install(time=1_800_000_000)
    log_in(page.context, url)
    page.goto("/in-an-hour")
    page.get_by_role("heading").click()
    assert sandbox.events == []

    page.clock.fast_forward(3_600_000)
    reach(lambda: sandbox.clicks(KEY, "Title"), 1)
    assert sandbox.impressions(KEY) == 1
    page.clock.pause_at(1_900_000_000)
    # A script's is none.
    page.evaluate("document.querySelector('h1').click()")
    page.clock.run_for(301)
    page.get_by_role("heading").dblclick()
    page.clock.run_for(301)
    page.get_by_role("heading").click()
    reach(lambda: sandbox.clicks(KEY, "Title"), 3)


def test_what_comes_in_later_is_reported_too(
    url: str, page: Page, sandbox: Sandbox
) -> None:
    log_in(page.context, url)
    page.goto("/")
    reach(lambda: sandbox.impressions(KEY), 1)
    page.evaluate(LATER)

    reach(lambda: sandbox.impressions(KEY), 2)
    page.get_by_role("heading").click()
    reach(lambda: sandbox.clicks(KEY, "Title"), 1)


def test_a_page_that_is_rendered_ahead_tells_when_it_is_seen(
    url: str, page: Page, sandbox: Sandbox
) -> None:
    # Headless browsers render nothing ahead: the page would get this event.
    page.add_init_script(
        "Object.defineProperty(document, 'prerendering', {value: true, writable: true})"
    )
    log_in(page.context, url)
    page.goto("/")
    until(page, DEVICE)
    page.wait_for_timeout(LONGER)
    assert sandbox.events == []

    page.evaluate(
        "document.prerendering = false;"
        "void document.dispatchEvent(new Event('prerenderingchange'))"
    )
    reach(lambda: sandbox.impressions(KEY), 1)


def test_an_sdk_that_is_missing_or_fails_does_the_page_no_harm(
    url: str, page: Page, sandbox: Sandbox
) -> None:
    warnings = complaints_of(page, ("warning",))
    log_in(page.context, url)
    page.goto("/without-sdk")
    page.get_by_text("Go on").click()
    page.wait_for_url("**/next")
    assert sandbox.events == []

    page.route("**/web_sdk.js", lambda route: route.fulfill(body=BROKEN))
    page.goto("/")
    wait_for(lambda: len(warnings) > 0, what="a warning")
    assert "the Web SDK took no trackImpression" in warnings[0]
    page.get_by_text("Go on").click()
    page.wait_for_url("**/next")


BROKEN = """window.Moengage = {device: {getUuid: () => "x"},
  web_p: {trackImpression() { throw new Error("no"); }}};"""


# --- the device id -----------------------------------------------------------


def test_the_sdks_cookie_is_the_visitor_of_the_next_page(
    page: Page, sandbox: Sandbox
) -> None:
    handed = hand_overs(page)
    page.goto("/")
    until(page, DEVICE)
    device = page.evaluate(DEVICE)
    page.wait_for_timeout(LONGER)
    page.goto("/first")

    [latest, first] = visitor_ids(sandbox)
    assert latest == device != first
    assert handed == []


def test_where_the_cookie_is_missing_the_id_is_handed_over_once(
    url: str, page: Page, sandbox: Sandbox
) -> None:
    handed = hand_overs(page)
    with page.expect_response("**/_moe/d") as answer:
        page.goto("/hidden-cookie")
    device = page.evaluate(DEVICE)
    assert answer.value.status == 204
    page.evaluate(LATER)
    for _ in range(2):
        page.wait_for_timeout(LONGER)
        page.goto("/hidden-cookie")
    page.wait_for_timeout(LONGER)

    assert handed == [device]
    assert visitor_ids(sandbox)[0] == device
    [cookie] = [one for one in page.context.cookies() if one["name"] == "moe_device"]
    assert (cookie["value"], cookie["httpOnly"]) == (device, True)

    # It yields to the customer's at login.
    log_in(page.context, url)
    page.goto("/hidden-cookie")
    page.get_by_role("heading").wait_for()
    fetch = sandbox.requests.latest(endpoint="fetch")[0]
    sent = json.loads(fetch.request_body)
    assert (sent.get("customer_id"), sent.get("visitor_id")) == ("alice", None)
