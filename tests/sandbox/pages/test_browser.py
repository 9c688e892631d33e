"""The pages in a real Chromium: live, without a script, on a phone, in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .conftest import Site, impression

PAGES = (
    "/",
    "/experiences/homepage-banner",
    "/events",
    "/explain",
    "/explain?customer_id=alice&session=utm_medium%3Demail",
    "/requests",
    "/faults",
    "/connect",
)


def answer(page: Page, key: str) -> str:
    """What the explanation page says of one experience, on one line."""
    return " ".join(page.locator(f"#answer-{key}").inner_text().split())


def test_three_visitors_get_different_things_for_reasons_that_are_shown(
    page: Page, console: list[str]
) -> None:
    page.goto("/explain")
    assert "a week before everyone else" not in answer(page, "homepage-banner")
    assert "no audience matches" in answer(page, "price-badge")

    page.get_by_role("link", name="alice").click()
    expect(page).to_have_title(re.compile("Explain: alice"))
    assert "Gold members matches" in answer(page, "homepage-banner")
    assert "All Users not tried" in answer(page, "homepage-banner")
    assert "Gold price" in answer(page, "price-badge")

    page.goto("/explain")
    page.get_by_text("Describe a visitor in detail").click()
    page.get_by_label("customer_id").fill("somebody-new")
    page.get_by_label("Override attributes").fill("tier=silver")
    page.get_by_label("Other in-session attributes").fill("utm_medium=email")
    page.get_by_role("button", name="Explain").click()
    assert "Silver price" in answer(page, "price-badge")
    assert "Gold members does not match" in answer(page, "price-badge")
    assert "LETTER10" in answer(page, "promo-strip")
    assert "not active" in answer(page, "winter-sale")


def test_events_arrive_without_a_reload_unless_the_page_is_paused(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "first")
    page.goto("/events")
    page.evaluate("window.untouched = true")
    rows = page.locator("#event-rows tr")
    expect(rows).to_have_count(1)

    impression(site.sandbox, "second", clicked=True, b_id="cta")

    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("click of Homepage banner")
    expect(rows.first).to_contain_text("second")
    expect(page.locator("[data-voice]")).to_have_text("1 new line")
    expect(page.locator("#pulse")).to_contain_text("2 events counted")

    page.get_by_role("button", name="Live").click()
    impression(site.sandbox, "erin")
    page.wait_for_timeout(2_500)
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Paused").click()
    expect(rows.first).to_contain_text("erin")
    assert page.evaluate("window.untouched") is True

    # A filter holds for what arrives later, too.
    page.get_by_label("Customer").fill("gina")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#event-rows")).to_contain_text("No event matches")
    impression(site.sandbox, "frank")
    impression(site.sandbox, "gina")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("gina")


def test_overview_fills_itself_and_its_details_stay_open(
    page: Page, site: Site, console: list[str]
) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Nothing counted yet")).to_be_visible()

    impression(site.sandbox, "erin")
    impression(site.sandbox, "erin", clicked=True)

    expect(page.get_by_role("heading", name="Over time")).to_be_visible()
    expect(page.locator("#experience-rows tr").first).to_contain_text("100.0%")
    page.get_by_text("Show as table").click()
    impression(site.sandbox, "frank")
    expect(page.locator("#pulse")).to_contain_text("3 events counted")
    expect(page.get_by_role("table", name="over time")).to_contain_text("2")


def test_mistake_in_the_workspace_file_appears_and_goes_without_a_reload(
    page: Page, site: Site, console: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "workspace.yml"
    file.write_text("experiences: []\n")
    site.sandbox.workspace = str(file)
    page.goto("/connect")
    expect(page.get_by_role("alert")).to_have_count(0)

    file.write_text("experiencs: []\n")
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'experiences'?")

    file.write_text("experiences: []\n# mended\n")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_everything_works_without_a_script(browser: Browser, site: Site) -> None:
    impression(site.sandbox, "erin")
    impression(site.sandbox, "frank")
    page = browser.new_page(base_url=site.address, java_script_enabled=False)
    page.goto("/events")
    expect(page.get_by_role("button", name="Live")).to_have_count(0)
    page.get_by_label("Customer").fill("frank")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#event-rows tr")).to_have_count(1)
    page.get_by_role("link", name="frank").click()
    expect(page).to_have_title(re.compile("Explain: frank"))

    page.get_by_role("link", name="Faults").click()
    page.get_by_label("Status").select_option("500")
    page.get_by_label("Number of calls").fill("3")
    page.get_by_role("button", name="Activate").click()
    expect(page.locator("#armed-faults")).to_contain_text("returns 500")
    expect(page.locator("#pulse")).to_contain_text("1 fault active")
    page.get_by_role("button", name="Remove: all, returns 500").click()
    expect(page.locator("#armed-faults")).to_contain_text("None")

    page.get_by_role("link", name="Connect").click()
    expect(page.locator(".code").first).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.get_by_role("button", name="Delete all data (2 events)").click()
    expect(page.get_by_role("heading", name="Nothing counted yet")).to_be_visible()
    page.close()


def test_keyboard_reaches_the_page_and_shows_where_it_is(page: Page) -> None:
    page.goto("/events")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Experience")).to_be_focused()

    outline = page.get_by_label("Experience").evaluate(
        "e => getComputedStyle(e).outlineStyle"
    )

    assert outline == "solid"


def test_request_and_status_are_visible_at_every_width(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "erin")
    site.sandbox.fault("fetch", status=503, latency=0.001)
    page.request.post("/v1/experiences/fetch", data={"customer_id": "a-long-id" * 4})
    values = ("when", "what", "visitor", "keys", "matches", "status", "took")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto("/requests")
        row = page.locator("#request-rows summary").first
        places = [place_of(row.locator(f".{name}"), width) for name in values]
        for number, one in enumerate(places):
            assert all(are_apart(one, other) for other in places[number + 1 :])
        page.goto("/")
        listed = page.locator("#experience-rows tr").filter(has_text="Welcome back")
        place_of(listed.get_by_text("Draft", exact=True).filter(visible=True), width)


Place = tuple[float, float, float, float]


def place_of(value: Locator, width: int) -> Place:
    """Return the edges of a value: left, top, right, bottom."""
    expect(value).to_be_visible()
    box = value.bounding_box()
    assert box is not None
    right, bottom = box["x"] + box["width"], box["y"] + box["height"]
    assert box["x"] >= 0 and right <= width, value
    return box["x"], box["y"], right, bottom


def are_apart(one: Place, other: Place) -> bool:
    return any(
        first[axis + 2] <= second[axis] + 0.5
        for axis in (0, 1)
        for first, second in ((one, other), (other, one))
    )


def test_code_is_copied_by_a_button(browser: Browser, site: Site) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    page = browser.new_page(base_url=site.address, permissions=permissions)
    page.goto("/")
    code = page.locator(".code").first
    code.get_by_role("button", name="Copy").click()

    expect(code.get_by_role("button", name="Copied")).to_be_visible()
    expect(page.locator("[data-voice]")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == code.locator("code").text_content()
    page.close()


def test_axe_finds_nothing_wrong_and_no_page_scrolls_sideways(
    page: Page, site: Site
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for number in range(30):
        long_id = f"a-customer-with-a-very-long-id-{number:040}"
        impression(site.sandbox, long_id, variation=str(1 + number % 2))
    impression(site.sandbox, "erin-1", clicked=True, b_id="cta")
    site.sandbox.fault("fetch", status=503, times=None)
    for path in (*PAGES, "/no-such-page", "/explain?attributes=broken"):
        page.goto(path)
        for width, dark in ((1600, False), (360, True)):
            page.set_viewport_size({"width": width, "height": 740})
            page.emulate_media(color_scheme="dark" if dark else "light")
            assert page.evaluate("document.documentElement.scrollWidth") == width, path
            assert (ink(page) > 200) if dark else (ink(page) < 60)
            # In the other colours nothing but the contrast differs.
            found = axe.Axe().run(page, options=CONTRAST if dark else None)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        if path in PAGES:
            assert_landmarks(page, path)


CONTRAST = {"runOnly": ["color-contrast"]}


def ink(page: Page) -> float:
    """The brightness of the page's text, from 0 to 255."""
    colour = page.locator("body").evaluate("e => getComputedStyle(e).color")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def assert_landmarks(page: Page, path: str) -> None:
    """Landmarks, one heading of level one, captions and a place for messages."""
    assert page.get_by_role("heading", level=1).count() == 1, path
    for role in ("banner", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, (path, role)
    assert page.locator("table:not(:has(caption))").count() == 0, path
    assert page.locator("[role=status][aria-live=polite]").count() == 1, path
