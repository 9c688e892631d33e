"""The pages in a real Chromium: live, without a script, on a phone, in the dark."""

from __future__ import annotations

import re
from pathlib import Path

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
    expect(page.locator("#event-rows")).to_contain_text("No event matches")

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
    expect(page.locator("#experience-rows tr").first).to_contain_text("100.0%")


def test_fault_switched_on_is_seen_by_the_demo_and_switched_off_again(
    browser: Browser, tmp_path: object
) -> None:
    environ = {"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/demo.db"}
    with served("-m", "demo_app", "--port", "0", environ=environ) as shop:
        page = browser.new_context(base_url=shop).new_page()
        page.goto("/")
        page.locator("a[href='/sandbox/']").click()
        page.get_by_role("link", name="Faults").click()
        page.get_by_role("button", name="Every call returns 503").click()
        expect(page.locator("#armed-faults")).to_contain_text("returns 503")
        expect(page.locator("#pulse")).to_contain_text("1 fault active")

        page.goto("/products/matcha")
        expect(page.locator(".made")).to_contain_text("fallback")

        page.goto("/sandbox/requests")
        expect(page.locator("#request-rows li").first).to_contain_text(
            "Service Unavailable, fault: status 503"
        )
        page.goto("/sandbox/faults")
        page.get_by_role("button", name="Remove: all, returns 503").click()
        expect(page.locator("#armed-faults")).to_contain_text("None")


def test_no_page_scrolls_sideways(page: Page, site: Site, console: list[str]) -> None:
    for number in range(20):
        impression(site.sandbox, f"a-customer-with-a-very-long-id-{number:040}")
    for path in PAGES:
        page.goto(path)
        for width in (360, 1600):
            page.set_viewport_size({"width": width, "height": 740})
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
    expect(page).to_have_title(re.compile("Explain: frank"))

    page.get_by_role("link", name="Faults").click()
    page.get_by_label("Status").select_option("500")
    page.get_by_label("Number of calls").fill("3")
    page.get_by_role("button", name="Activate").click()
    expect(page.locator("#armed-faults")).to_contain_text("returns 500")
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("#armed-faults")).to_contain_text("None")

    page.get_by_role("link", name="Connect").click()
    expect(page.locator(".code").first).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.get_by_role("button", name="Delete all data (2 events)").click()
    expect(page.get_by_role("heading", name="Nothing counted yet")).to_be_visible()
    context.close()


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


def test_open_details_survive_the_next_event(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "erin")
    page.goto("/")
    page.get_by_text("Show as table").click()

    impression(site.sandbox, "frank")

    expect(page.locator("#pulse")).to_contain_text("2 events counted")
    expect(page.get_by_role("table", name="over time")).to_contain_text("2")


def test_status_of_each_experience_is_visible_on_a_phone(
    page: Page, console: list[str]
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    for name, status in (("Homepage banner", "Active"), ("Welcome back", "Draft")):
        row = page.locator("#experience-rows tr").filter(has_text=name)
        shown = row.get_by_text(status, exact=True).filter(visible=True)
        expect(shown).to_have_count(1)
        place = shown.bounding_box()
        assert place is not None
        assert place["x"] >= 0 and place["x"] + place["width"] <= 390


def test_request_row_shows_each_of_its_values_unbroken(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "a-customer-with-a-rather-long-id")
    site.sandbox.fault("events", status=503, latency=0.001)
    with pytest.raises(AssertionError):
        impression(site.sandbox, "erin")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto("/requests")
        check_rows(page, width)


def check_rows(page: Page, width: int) -> None:
    for row in page.locator("#request-rows summary").all():
        edge = row.bounding_box()
        assert edge is not None
        places = []
        for name in ("when", "what", "visitor", "keys", "matches", "status", "took"):
            value = row.locator(f".{name}")
            expect(value).to_be_visible()
            clipped = value.evaluate("e => e.scrollWidth > e.clientWidth + 1")
            place = value.bounding_box()
            assert place is not None
            assert not clipped or name in ("when", "what", "status", "took"), name
            assert place["x"] >= 0 and place["x"] + place["width"] <= width, name
            places.append((name, place))
        for name in ("when", "what", "status", "took"):
            height = next(place["height"] for one, place in places if one == name)
            assert height < 30, f"{name} is broken into lines"
        for number, (name, one) in enumerate(places):
            for other, two in places[number + 1 :]:
                apart = (
                    one["x"] + one["width"] <= two["x"] + 0.5
                    or two["x"] + two["width"] <= one["x"] + 0.5
                    or one["y"] + one["height"] <= two["y"] + 0.5
                    or two["y"] + two["height"] <= one["y"] + 0.5
                )
                assert apart, f"{name} overlaps {other}"


def test_bars_of_a_short_session_are_narrow(
    page: Page, site: Site, console: list[str]
) -> None:
    impression(site.sandbox, "erin")
    impression(site.sandbox, "erin", what="CLICKED")
    page.goto("/")
    for name in ("impressions", "clicks"):
        plot = page.locator(f".plot.{name}")
        bar, frame = plot.locator("rect").bounding_box(), plot.bounding_box()
        assert bar is not None
        assert frame is not None
        assert bar["width"] <= frame["width"] / 20

    page.get_by_role("link", name="Last 7 days").click()
    expect(page.locator("figure.chart")).to_have_attribute("data-grain", "hour")
    assert "range=week" in page.url


@pytest.mark.parametrize("path", ["/", "/requests"])
def test_code_is_copied_by_a_button(browser: Browser, site: Site, path: str) -> None:
    impression(site.sandbox, "erin")
    site.sandbox.reset() if path == "/" else None
    context = browser.new_context(
        base_url=site.address, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    page.goto(path)
    if path == "/requests":
        page.locator("#request-rows summary").first.click()
    code = page.locator(".code").first
    code.get_by_role("button", name="Copy").click()

    expect(code.get_by_role("button", name="Copied")).to_be_visible()
    expect(page.locator("[data-voice]")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == code.locator("code").text_content()
    context.close()


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
