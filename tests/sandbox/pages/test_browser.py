"""The pages in a real Chromium: live, without a script, on a phone, in the dark."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.demo_app.conftest import served

from .conftest import Site, impression

PAGES = (
    "/",
    "/experiences/homepage-banner",
    "/events",
    "/explain",
    "/explain?customer_id=alice&session=utm_medium%3Demail",
    "/requests",
    "/faults",
    "/help",
)


def answer(page: Page, key: str) -> str:
    """What the explanation page says of one experience, on one line."""
    return " ".join(page.locator(f"#answer-{key}").inner_text().split())


def test_three_visitors_get_different_things_for_reasons_that_are_told(
    page: Page, console: list[str]
) -> None:
    page.goto("/explain")
    assert "a week before everyone else" not in answer(page, "homepage-banner")
    assert "no audience fits" in answer(page, "price-badge")

    page.get_by_role("link", name="alice").click()
    expect(page).to_have_title(re.compile("What alice would get"))
    assert "Gold members fits" in answer(page, "homepage-banner")
    assert "All Users not tried" in answer(page, "homepage-banner")
    assert "Gold price" in answer(page, "price-badge")

    page.goto("/explain")
    page.get_by_text("Describe a visitor in detail").click()
    page.get_by_label("customer_id").fill("somebody-new")
    page.get_by_label("Attributes to pretend").fill("tier=silver")
    page.get_by_label("Other in-session attributes").fill("utm_medium=email")
    page.get_by_role("button", name="Explain").click()
    assert "Silver price" in answer(page, "price-badge")
    assert "Gold members does not fit" in answer(page, "price-badge")
    assert "LETTER10" in answer(page, "promo-strip")
    assert "not active" in answer(page, "winter-sale")


def test_new_event_arrives_without_a_reload(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "first")
    page.goto("/events")
    page.evaluate("window.untouched = true")
    rows = page.locator("#event-rows tr")
    expect(rows).to_have_count(1)

    impression(site.sandbox, "second", what="CLICKED", b_id="cta")

    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("click of Homepage banner")
    expect(rows.first).to_contain_text("second")
    expect(page.locator("[data-voice]")).to_have_text("1 new line")
    expect(page.locator("#pulse")).to_contain_text("2 events counted")
    assert page.evaluate("window.untouched") is True


def test_paused_page_stands_still_until_it_is_live_again(
    page: Page, site: Site, console: list[str]
) -> None:
    page.goto("/events")
    page.get_by_role("button", name="Live").click()
    impression(site.sandbox, "erin")
    page.wait_for_timeout(2_500)
    expect(page.locator("#event-rows")).to_contain_text("No event yet")

    page.get_by_role("button", name="Paused").click()

    expect(page.locator("#event-rows")).to_contain_text("erin")


def test_filtered_stream_shows_only_what_fits_even_live(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "erin")
    page.goto("/events")
    page.get_by_label("Action").select_option("clicks")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#event-rows")).to_contain_text("No event fits")

    impression(site.sandbox, "frank")
    impression(site.sandbox, "gina", what="CLICKED")

    expect(page.locator("#event-rows tr")).to_have_count(1)
    expect(page.locator("#event-rows")).to_contain_text("gina")


def test_first_event_turns_the_empty_overview_into_figures(
    page: Page, site: Site, console: list[str]
) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Nothing counted yet")).to_be_visible()

    impression(site.sandbox, "erin")
    impression(site.sandbox, "erin", what="CLICKED")

    expect(page.get_by_role("heading", name="Over time")).to_be_visible()
    expect(page.locator("#experience-rows tr").first).to_contain_text("100.0 %")


def test_fault_switched_on_is_seen_by_the_demo_and_switched_off_again(
    browser: Browser, tmp_path: object
) -> None:
    environ = {"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/demo.db"}
    with served("-m", "demo_app", "--port", "0", environ=environ) as shop:
        page = browser.new_context(base_url=shop).new_page()
        page.goto("/")
        page.get_by_role("link", name="all that was counted").click()
        page.get_by_role("link", name="Faults").click()
        page.get_by_role("button", name="Every call answers 503").click()
        expect(page.locator("#armed-faults")).to_contain_text("answers 503")
        expect(page.locator("#pulse")).to_contain_text("1 fault switched on")

        page.goto("/products/matcha")
        expect(page.locator(".made")).to_contain_text("fallback")

        page.goto("/sandbox/requests")
        expect(page.locator("#request-rows tr").first).to_contain_text(
            "503 Service Unavailable, fault: status 503"
        )
        page.goto("/sandbox/faults")
        page.get_by_role("button", name="Switch off: all, answers 503").click()
        expect(page.locator("#armed-faults")).to_contain_text("None")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_no_page_scrolls_sideways(
    page: Page, site: Site, console: list[str], width: int, scheme: str
) -> None:
    for number in range(20):
        impression(site.sandbox, f"a-customer-with-a-very-long-id-{number:040}")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 740})
    for path in PAGES:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == width, path


def test_dark_mode_is_dark_and_light_mode_light(page: Page) -> None:
    def brightness(selector: str) -> float:
        colour = page.locator(selector).first.evaluate(
            "e => getComputedStyle(e).getPropertyValue('background-color')"
        )
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="light")
    page.goto("/")
    light = brightness("body")
    page.emulate_media(color_scheme="dark")

    assert light > 230
    assert brightness("body") < 40


def test_everything_works_without_a_script(browser: Browser, site: Site) -> None:
    impression(site.sandbox, "erin")
    impression(site.sandbox, "frank")
    context = browser.new_context(base_url=site.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/events")
    expect(page.get_by_role("button", name="Live")).to_have_count(0)
    page.get_by_label("Customer").fill("frank")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#event-rows tr")).to_have_count(1)
    page.get_by_role("link", name="frank").click()
    expect(page).to_have_title(re.compile("What frank would get"))

    page.get_by_role("link", name="Faults").click()
    page.get_by_label("Answer with status").select_option("500")
    page.get_by_label("How many calls").fill("3")
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#armed-faults")).to_contain_text("answers 500")
    page.get_by_role("button", name="Switch all off").click()
    expect(page.locator("#armed-faults")).to_contain_text("None")

    page.get_by_role("link", name="Connect").click()
    page.get_by_role("button", name="Forget 2 events").click()
    expect(page.get_by_role("heading", name="Nothing counted yet")).to_be_visible()
    context.close()


def test_keyboard_reaches_the_page_and_shows_where_it_is(page: Page) -> None:
    page.goto("/events")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Experience")).to_be_focused()

    outline = page.get_by_label("Experience").evaluate(
        "e => getComputedStyle(e).outlineStyle"
    )

    assert outline == "solid"


def test_open_details_survive_the_next_event(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "erin")
    page.goto("/")
    page.get_by_text("The same as a table").click()

    impression(site.sandbox, "frank")

    expect(page.locator("#pulse")).to_contain_text("2 events counted")
    expect(page.get_by_role("table", name="over time")).to_contain_text("2")


def test_hostile_text_stays_text(page: Page, site: Site, console: list[str]) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    impression(site.sandbox, evil, audience_name=evil, experience=evil, b_id=evil)
    site.sandbox.define("evil-banner", {"Title": evil, "<b>": evil}, name=evil)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))

    for path in (*PAGES, "/experiences/evil-banner"):
        page.goto(path)
        assert page.locator("main img, main script").count() == 0, path
    page.goto("/experiences/evil-banner")
    expect(page.get_by_role("heading", level=1)).to_have_text(evil)
