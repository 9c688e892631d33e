"""Our script in a real Chromium, under a Content-Security-Policy with a nonce."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

from ..servers import wait_for
from .conftest import Shop, site
from .looking import freeze, reach, serving, until

LONGER = 1_500
"""Milliseconds; long enough for the report of a view of one second."""


def seen_after(milliseconds: int, shop: Shop, page: Page) -> int:
    page.clock.run_for(milliseconds)
    return shop.impressions()


def test_a_click_counts_though_the_page_is_left_at_once(shop: Shop, page: Page) -> None:
    for number in range(1, 6):
        page.goto("/")
        page.get_by_text("Go on").click()
        page.wait_for_url("**/next")
        reach(lambda: shop.clicks("Shop Now"), number)

    assert shop.clicks() == 5


def test_a_click_counts_though_the_tab_is_closed_at_once(
    shop: Shop, page: Page
) -> None:
    page.goto("/")
    page.get_by_role("button").click()
    page.close()

    reach(lambda: shop.clicks("Button"), 1)


def test_an_impression_counts_once_its_element_was_scrolled_to(
    shop: Shop, page: Page
) -> None:
    page.goto("/")
    # Two elements are in sight, and have the same impression; the far one has it too.
    reach(shop.impressions, 1)

    page.goto("/tall")
    page.wait_for_timeout(LONGER)
    assert shop.impressions() == 1
    page.locator("#far").scroll_into_view_if_needed()
    page.mouse.wheel(0, 2_000)
    reach(shop.impressions, 2)


def test_a_double_click_counts_once(shop: Shop, page: Page) -> None:
    freeze(page)
    page.goto("/")
    page.get_by_role("button").dblclick()
    page.clock.run_for(301)
    page.get_by_role("button").click()

    reach(lambda: shop.clicks("Button"), 2)


def test_of_twenty_fast_clicks_three_count_each_second(shop: Shop, page: Page) -> None:
    freeze(page)
    page.goto("/")
    for _ in range(20):
        page.get_by_role("button").click()
        page.clock.run_for(100)
    page.get_by_text("Go on").click()

    # At 0, 300, 600, ... 1,800 milliseconds; the link's own comes after them.
    reach(lambda: shop.clicks("Shop Now"), 1)
    reach(lambda: shop.clicks("Button"), 7)


def test_keys_and_the_middle_button_click_and_scripts_do_not(
    shop: Shop, page: Page
) -> None:
    page.goto("/")
    page.evaluate("document.querySelector('button').click()")
    page.get_by_text("Go on").click(button="middle")
    page.get_by_role("button").press("Enter")

    reach(lambda: shop.clicks("Button"), 1)
    reach(lambda: shop.clicks("Shop Now"), 1)


def test_a_click_that_the_app_swallows_counts(shop: Shop, page: Page) -> None:
    page.goto("/")
    page.evaluate(
        "() => { document.querySelector('button').onclick = event => {"
        "  event.stopImmediatePropagation(); event.preventDefault(); } }"
    )
    page.get_by_role("button").click()

    reach(lambda: shop.clicks("Button"), 1)


def test_a_link_that_counts_by_itself_counts_once(shop: Shop, page: Page) -> None:
    page.goto("/link")
    page.get_by_text("Link").click()
    page.wait_for_url("**/next")
    page.goto("/")
    page.get_by_role("button").click()

    reach(lambda: shop.clicks("Button"), 1)
    reach(lambda: shop.clicks("Link"), 1)


def test_what_comes_in_later_counts_too(shop: Shop, page: Page) -> None:
    page.goto("/next")
    page.evaluate(
        "async () => {"
        "  const page = await (await fetch('/fragment')).text();"
        "  const parsed = new DOMParser().parseFromString(page, 'text/html');"
        "  document.body.append(parsed.querySelector('p')); }"
    )

    reach(shop.impressions, 1)
    page.get_by_text("Fragment").click()
    reach(lambda: shop.clicks("Fragment"), 1)


def test_an_element_with_another_mark_is_another_one(shop: Shop, page: Page) -> None:
    page.goto("/near")
    reach(shop.impressions, 1)
    page.evaluate(
        "async () => {"
        "  const page = await (await fetch('/near')).text();"
        "  const parsed = new DOMParser().parseFromString(page, 'text/html');"
        "  document.querySelector('p').dataset.moe ="
        "    parsed.querySelector('p').dataset.moe; }"
    )

    reach(shop.impressions, 2)


def test_what_is_veiled_is_not_seen_until_it_is(shop: Shop, page: Page) -> None:
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => veil.style.opacity = 0)"
    )
    page.goto("/veiled")
    page.wait_for_timeout(LONGER)
    assert shop.impressions() == 0

    page.evaluate("veil.style.opacity = 1")
    reach(shop.impressions, 1)


def test_less_than_a_second_is_no_impression(shop: Shop, page: Page) -> None:
    freeze(page)
    page.goto("/near")
    for margin in ("200vh", "0", "200vh"):
        page.wait_for_timeout(300)
        page.clock.run_for(900)
        page.evaluate(f"document.querySelector('p').style.marginTop = '{margin}'")
    page.wait_for_timeout(300)
    page.clock.run_for(5_000)
    page.wait_for_timeout(300)
    assert shop.impressions() == 0

    page.evaluate("document.querySelector('p').style.marginTop = '0'")
    reach(lambda: seen_after(1_100, shop, page), 1)


def test_what_comes_into_sight_together_is_reported_together(
    shop: Shop, page: Page
) -> None:
    bodies: list[str] = []
    page.on("request", lambda sent: bodies.append(sent.post_data or ""))
    freeze(page)
    page.goto("/many")

    # One beacon takes fifty lines, and there are sixty.
    reach(lambda: seen_after(1_100, shop, page), 1)
    wait_for(
        lambda: seen_after(100, shop, page) and sum(map(bool, bodies)) > 1,
        what="the other beacon",
    )
    assert [len(body.splitlines()) for body in bodies if body] == [50, 10]


def test_a_page_that_comes_back_from_the_cache_counts_on(
    shop: Shop, page: Page
) -> None:
    page.goto("/")
    reach(shop.impressions, 1)
    page.get_by_role("button").click()
    page.evaluate("addEventListener('pageshow', e => document.title = e.persisted)")
    page.goto("/next")
    # No load event comes from the cache.
    page.go_back(wait_until="commit")
    until(page, "document.title == 'true'")

    page.wait_for_timeout(LONGER)
    page.get_by_role("button").click()

    reach(lambda: shop.clicks("Button"), 2)
    assert shop.impressions() == 1


@pytest.mark.parametrize(
    ("state", "event"),
    [("hidden", "visibilitychange"), ("prerendering", "prerenderingchange")],
)
def test_a_page_in_the_background_shows_nothing(
    state: str, event: str, shop: Shop, page: Page
) -> None:
    # No headless browser hides a tab: this is the event that the page would get.
    page.add_init_script(
        f"Object.defineProperty(document, '{state}', {{value: true, writable: true}})"
    )
    page.goto("/near")
    page.wait_for_timeout(LONGER)
    assert shop.impressions() == 0

    page.evaluate(
        f"document.{state} = false; void document.dispatchEvent(new Event('{event}'))"
    )
    reach(shop.impressions, 1)


def test_a_second_counts_from_when_the_page_came_to_the_front(
    shop: Shop, page: Page
) -> None:
    freeze(page)
    page.goto("/near")
    for _ in range(5):
        page.wait_for_timeout(300)
        page.clock.run_for(900)
        page.evaluate("void document.dispatchEvent(new Event('visibilitychange'))")
    assert shop.impressions() == 0

    reach(lambda: seen_after(1_100, shop, page), 1)


def test_a_beacon_that_the_browser_does_not_take_is_fetched(
    shop: Shop, page: Page
) -> None:
    page.add_init_script("Navigator.prototype.sendBeacon = () => false")
    page.goto("/")
    page.get_by_text("Go on").click()
    page.wait_for_url("**/next")

    reach(lambda: shop.clicks("Shop Now"), 1)


def test_another_origin_cannot_tell_for_its_visitor(
    shop: Shop, visitor: BrowserContext, caplog: pytest.LogCaptureFixture
) -> None:
    page = visitor.new_page()
    page.goto("/")
    token = page.get_by_role("button").get_attribute("data-moe")
    with serving(site().app) as elsewhere:
        # The same host, so her cookies are sent along.
        page.goto(f"{elsewhere}/not-a-page")
        page.evaluate(
            "([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body,"
            " credentials: 'include'}).then(() => true)",
            [f"{shop.url}/_moe/e", f"c {token} 1"],
        )
    page.goto("/")
    page.get_by_role("button").click()

    reach(shop.clicks, 1)
    assert "beacon_refused reason=other_site" in caplog.text


def test_a_page_without_its_script_works(shop: Shop, visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.route("**/*.js", lambda route: route.abort())
    page.goto("/link")
    page.get_by_text("Link").click()
    page.wait_for_url("**/next")

    reach(lambda: shop.clicks("Link"), 1)
