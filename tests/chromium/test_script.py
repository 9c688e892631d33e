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


def test_clicks_count_however_the_page_goes_on(shop: Shop, page: Page) -> None:
    for number in (1, 2):
        page.goto("/")
        page.get_by_text("Go on").click()
        page.wait_for_url("**/next")
        reach(lambda: shop.clicks("Shop Now"), number)
    # The browser does not take the beacon.
    page.goto("/")
    page.evaluate("Navigator.prototype.sendBeacon = () => false")
    page.get_by_text("Go on").click()
    page.wait_for_url("**/next")
    reach(lambda: shop.clicks("Shop Now"), 3)
    # A link that counts by itself counts once.
    page.goto("/link")
    page.get_by_text("Link").click()
    page.wait_for_url("**/next")
    # The app swallows the click, and the tab is closed at once.
    page.goto("/")
    page.evaluate(
        "() => { document.querySelector('button').onclick = event => {"
        "  event.stopImmediatePropagation(); event.preventDefault(); } }"
    )
    page.get_by_role("button").click()
    page.close()

    reach(lambda: shop.clicks("Button"), 1)
    reach(lambda: shop.clicks("Link"), 1)


def test_keys_and_the_middle_button_click_and_scripts_do_not(
    shop: Shop, page: Page
) -> None:
    page.goto("/")
    page.get_by_text("Go on").click(button="middle")
    page.get_by_role("button").press("Enter")
    reach(lambda: shop.clicks("Button"), 1)
    reach(lambda: shop.clicks("Shop Now"), 1)

    # Later than the second half of a double click.
    page.wait_for_timeout(400)
    page.evaluate("document.querySelector('button').click()")
    page.get_by_text("Go on").click()
    reach(lambda: shop.clicks("Shop Now"), 2)
    assert shop.clicks("Button") == 1


def test_a_double_click_counts_once_and_fast_ones_three_times_a_second(
    shop: Shop, page: Page
) -> None:
    freeze(page)
    page.goto("/")
    page.get_by_role("button").dblclick()
    page.clock.run_for(301)
    for _ in range(20):
        page.get_by_role("button").click()
        page.clock.run_for(100)
    page.get_by_text("Go on").click()

    # At 0, 300, 600, ... 1,800 milliseconds; the link's own comes after them.
    reach(lambda: shop.clicks("Shop Now"), 1)
    reach(lambda: shop.clicks("Button"), 1 + 7)


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


def test_what_comes_in_later_and_another_mark_count_too(shop: Shop, page: Page) -> None:
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
    page.evaluate(
        "async () => {"
        "  const page = await (await fetch('/fragment')).text();"
        "  const parsed = new DOMParser().parseFromString(page, 'text/html');"
        "  document.body.append(parsed.querySelector('p')); }"
    )
    reach(shop.impressions, 3)
    page.get_by_text("Fragment").click()
    reach(lambda: shop.clicks("Fragment"), 1)


def test_what_is_veiled_or_in_the_background_is_not_seen_until_it_is(
    shop: Shop, page: Page
) -> None:
    # No headless browser hides a tab: these are the events that the page would get.
    page.add_init_script("""
      for (const state of ["hidden", "prerendering"])
        Object.defineProperty(
          document, state, {value: state === "hidden", writable: true}
        );
    """)
    page.goto("/veiled")
    # Each of the three alone hides it.
    for change in (
        "document.hidden = false; document.prerendering = true;"
        "void document.dispatchEvent(new Event('visibilitychange'))",
        "document.prerendering = false; veil.style.opacity = 0;"
        "void document.dispatchEvent(new Event('prerenderingchange'))",
        "veil.style.opacity = 1",
    ):
        page.wait_for_timeout(LONGER)
        assert shop.impressions() == 0
        page.evaluate(change)

    reach(shop.impressions, 1)


def test_an_impression_takes_a_second_at_the_front(shop: Shop, page: Page) -> None:
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
    # It begins anew whenever the page comes to the front.
    for _ in range(5):
        page.wait_for_timeout(300)
        page.clock.run_for(900)
        page.evaluate("void document.dispatchEvent(new Event('visibilitychange'))")
    assert shop.impressions() == 0
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
