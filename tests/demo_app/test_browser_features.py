"""What the demo says of clicks, sight, the Web SDK, consent and previews: in Chromium.

A shop of its own for each test, at a real port, with the sandbox inside this process.
No page of it may break its own Content-Security-Policy, in any of these tests.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from demo_app.app import CONFIG, build_app
from moe_middleware import Settings
from moe_middleware.sandbox import Sandbox, embedded

from ..chromium.looking import complaints_of, reach, serving, until
from ..servers import PATIENCE, wait_for

# Not the headless one's: the Web SDK, and its stand-in, refuse it as a bot.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/145.0.0.0 Safari/537.36"

LONGER = 1_500
"""Milliseconds; long enough for the report of a view of one second."""

TELL_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  console.error("policy:", event.violatedDirective, event.blockedURI, event.sample))"""

HERO, PROMO, BADGE, UPSELL = (
    *("homepage-banner", "promo-strip", "price-badge", "cart-upsell"),
)


@dataclass
class Visitor:
    """A browser of someone's own, and what its pages complain of."""

    context: BrowserContext
    pages: list[list[str]] = field(default_factory=list)

    def open_tab(self) -> Page:
        page = self.context.new_page()
        self.pages.append(complaints_of(page))
        return page

    @property
    def complaints(self) -> list[str]:
        return [one for page in self.pages for one in page]

    def cookies(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.context.cookies()}


Welcome = Callable[..., Visitor]


@pytest.fixture
def sandbox() -> Sandbox:
    """What counts: the one that the shop shows at its foot."""
    embedded().reset()
    return embedded()


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Iterator[str]:
    """The address of a shop."""
    environ = {"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/outbox.db"}
    settings = Settings.load(CONFIG, environ=environ, fetch={"timeout": 5})
    with serving(build_app(settings, {})) as address:
        yield address


@pytest.fixture
def welcome(browser: Browser, site: str) -> Iterator[Welcome]:
    """Return a function that lets someone in, who has answered the shop's question."""
    visitors: list[Visitor] = []

    def welcome(who: str = "", *, consent: str = "yes", **options: Any) -> Visitor:
        size = {"width": 1280, "height": 800}
        given = {"base_url": site, "user_agent": USER_AGENT, "viewport": size}
        context = browser.new_context(**(given | options))
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(TELL_VIOLATIONS)
        held = {"customer_id": who, "consent": consent}
        context.add_cookies(
            [{"name": k, "value": v, "url": site} for k, v in held.items() if v]
        )
        visitors.append(Visitor(context))
        return visitors[-1]

    yield welcome
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.complaints for visitor in visitors if visitor.complaints] == []


def reported_by(sandbox: Sandbox, key: str, end: str) -> list[tuple[str, str]]:
    """Return which way each event of an experience came, and whose it is."""
    return [
        (event["via"], event["customer_id"])
        for event in sandbox.events
        if event["experience_key"] == key and event["action"].endswith(end)
    ]


def last_fetch(sandbox: Sandbox) -> str:
    """Return the body of the last fetch."""
    return sandbox.requests.latest(1, "fetch")[0].request_body.decode()


# --- clicks, what was seen, the policy ----------------------------------------


def test_forms_and_links_work_and_count_without_a_script(
    welcome: Welcome, sandbox: Sandbox
) -> None:
    page = welcome(java_script_enabled=False).open_tab()
    page.goto("/")
    page.get_by_role("button", name="alice").click()
    link = page.get_by_role("link", name="Reserve a tin").get_attribute("href")
    page.get_by_role("link", name="Reserve a tin").click()
    page.wait_for_url("**/products/sencha")
    expect(page.locator(".badge")).to_contain_text("Gold price")
    page.goto(str(link))
    page.wait_for_url("**/products/sencha")
    page.get_by_role("link", name="Have a look").click()
    # Which tea the strip is about depends on the hour.
    page.wait_for_url(lambda url: not url.endswith("/products/sencha"))

    reach(lambda: sandbox.clicks(PROMO, "Promo strip"), 1)
    # The same link, followed twice.
    assert sandbox.clicks(HERO, "Reserve a tin") == 1
    page.goto("/products")
    expect(page.locator(".clicks tbody")).to_contain_text("Reserve a tin")


def test_the_strip_tells_of_clicks_and_of_what_was_scrolled_to(
    welcome: Welcome, sandbox: Sandbox
) -> None:
    visitor = welcome("alice", viewport={"width": 800, "height": 600})
    page = visitor.open_tab()
    for sku in ("assam", "rooibos", "sencha", "earl-grey"):
        page.goto(f"/products/{sku}")
        page.get_by_role("button", name="to the cart").click()
        page.wait_for_url("**/cart")
    reach(lambda: sandbox.clicks(BADGE, "Add to cart"), 2)
    expect(page.locator(".clicks tbody tr")).to_have_text(re.compile("Add to cart *2"))
    page.wait_for_timeout(LONGER)
    assert sandbox.impressions(UPSELL) == 0

    page.locator(".upsell").scroll_into_view_if_needed()
    reach(lambda: sandbox.impressions(UPSELL), 1)
    expect(page.locator(".impressions tbody")).to_contain_text(UPSELL)
    # What is not the shop's own, its policy holds back.
    assert visitor.complaints == []
    page.evaluate(
        "() => { const stranger = document.createElement('script');"
        "  stranger.textContent = 'window.stolen = true';"
        "  document.body.append(stranger);"
        "  document.body.setAttribute('style', 'color: blue'); }"
    )
    assert page.evaluate("window.stolen") is None
    complaints = " ".join(visitor.complaints)
    assert "policy: script-src-elem inline" in complaints
    assert "policy: style-src-attr inline" in complaints
    visitor.pages.clear()


# --- the Web SDK -------------------------------------------------------------


def test_the_web_sdk_reports_once_for_whom_logged_in_and_the_server_does_not(
    welcome: Welcome, sandbox: Sandbox
) -> None:
    def dawdle(route: Route) -> None:
        time.sleep(0.5)
        route.continue_()

    page = welcome("alice").open_tab()
    # The page says late who logged in.
    page.route("**/member.js", dawdle)
    page.goto("/club")
    reach(lambda: sandbox.impressions(BADGE), 1)
    # It comes to the front again, by itself and from the browser's cache.
    page.evaluate("void document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("window.kept = true")
    page.get_by_role("link", name="Cart").click()
    page.wait_for_url("**/cart")
    # No load event comes from the cache, and a page made anew knows nothing of this.
    page.go_back(wait_until="commit")
    until(page, "window.kept === true")
    page.get_by_role("link", name="See all teas").click()
    page.wait_for_url("**/products")

    # The shelf behind the button is the server's to count.
    wait_for(lambda: sandbox.impressions(BADGE) > 1, what="the shelf's badge")
    reach(lambda: sandbox.clicks(BADGE, "See all teas"), 1)
    shown = reported_by(sandbox, BADGE, "_SHOWN")
    assert sorted(shown) == [("api", "alice"), ("web_sdk", "alice")]
    assert reported_by(sandbox, BADGE, "_CLICKED") == [("web_sdk", "alice")]
    expect(page.locator(".recent")).to_contain_text("“See all teas”")
    expect(page.locator(".recent")).to_contain_text("through the Web SDK")


# --- consent -----------------------------------------------------------------


def test_nothing_is_counted_or_kept_before_a_yes_and_after_it_is_taken_back(
    welcome: Welcome, sandbox: Sandbox
) -> None:
    visitor = welcome(consent="")
    page = visitor.open_tab()
    page.goto("/")
    page.locator(".hero .button").click()
    page.wait_for_url("**/products/*")
    page.goto("/club")
    page.goto("/")
    assert visitor.cookies() == {}
    assert "visitor_id" not in last_fetch(sandbox)

    page.get_by_role("button", name="Yes, you may").click()
    expect(page.get_by_text("We remember you.")).to_be_visible()
    reach(lambda: sandbox.impressions(HERO), 1)
    old_id = visitor.cookies()["moe_visitor"]
    older = visitor.open_tab()
    older.goto("/")
    reach(lambda: sandbox.impressions(HERO), 2)

    page.get_by_role("button", name="Forget me").click()
    expect(page.get_by_text("We do not remember you.")).to_be_visible()
    assert "moe_visitor" not in visitor.cookies()
    page.locator(".hero .button").click()
    page.wait_for_url("**/products/*")
    page.goto("/cart")
    page.goto("/club")
    assert "moe_uuid" not in visitor.cookies()
    assert old_id not in last_fetch(sandbox)
    assert "visitor_id" not in last_fetch(sandbox)
    # A page from before, which has marks and links of its own.
    older.locator(".hero .button").click()
    older.wait_for_url("**/products/*")

    page.get_by_role("button", name="Remember me").click()
    expect(page.get_by_text("We remember you.")).to_be_visible()
    page.goto("/")
    reach(lambda: sandbox.impressions(HERO), 3)
    assert sandbox.clicks(HERO) == 0
    assert visitor.cookies()["moe_visitor"] != old_id
    assert sandbox.impressions(PROMO) == 3


# --- previews ----------------------------------------------------------------


def test_a_preview_is_opened_used_and_left_and_nothing_counts(
    welcome: Welcome, sandbox: Sandbox
) -> None:
    visitor = welcome("dave", viewport={"width": 360, "height": 740})
    page = visitor.open_tab()
    page.goto("/")
    expect(page.locator("h1")).to_have_text("A golden cup, on the house")
    page.get_by_role("link", name="preview All Users/1").first.click()
    badge, last = page.get_by_role("status"), page.locator(".recent li").last
    expect(badge).to_contain_text("Preview of homepage-banner, All Users/1")
    expect(page.locator("h1")).to_have_text("Slow mornings, good tea")
    # The badge leaves the foot free. Again and again: the list may still grow.
    expect(last).to_be_attached()
    bottom = "scrollY + innerHeight >= document.body.scrollHeight - 1"
    until(page, f"scrollTo(0, 100_000) ?? {bottom}")
    place, end = badge.bounding_box(), last.bounding_box()
    assert place is not None and end is not None
    assert end["y"] + end["height"] <= place["y"]
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360

    page.get_by_role("link", name="Meet the Earl Grey").click()
    page.wait_for_url("**/products/earl-grey")
    page.get_by_role("button", name="to the cart").click()
    page.wait_for_url("**/cart")
    expect(badge).to_contain_text("Not counted")

    page.get_by_role("link", name="Exit preview").click()
    expect(page.locator("h1")).to_have_text("A golden cup, on the house")
    expect(badge).to_have_count(0)
    assert "moe_preview" not in visitor.cookies()
    page.get_by_role("link", name="Claim the sample").click()

    # Two pages of the start, and the sample's click.
    reach(lambda: sandbox.clicks(HERO), 1)
    reach(lambda: sandbox.impressions(HERO), 2)
    assert sandbox.clicks(HERO, "Claim the sample") == 1
    assert sandbox.clicks(BADGE) == 0
    assert sandbox.impressions(UPSELL) == 0


# --- for everybody -----------------------------------------------------------


def test_axe_finds_nothing_wrong(welcome: Welcome) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    visitor = welcome("alice", color_scheme="light", bypass_csp=True)
    page = visitor.open_tab()

    def check(what: str) -> None:
        found = axe.Axe().run(page)
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"
        # The theme changes the colors alone, the width the layout.
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate("axe.run({runOnly: ['color-contrast']})")["violations"]
        assert dark == [], what
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width, what
        page.emulate_media(color_scheme="light")

    page.goto("/products/sencha")
    page.get_by_role("button", name="to the cart").click()
    page.wait_for_url("**/cart")
    check("cart")
    page.goto("/")
    expect(page.locator(".clicks tbody")).to_contain_text("Add to cart")
    check("home")
    page.goto("/club")
    check("club")
    page.get_by_role("link", name="preview Silver").click()
    expect(page.get_by_role("status")).to_be_visible()
    check("preview")
    visitor.context.clear_cookies()
    page.goto("/products")
    expect(page.get_by_text("May we remember you?")).to_be_visible()
    check("consent")
