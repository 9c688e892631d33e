"""Pages of the documentation, followed to the letter and opened in a real Chromium."""

from __future__ import annotations

from collections import Counter

import pytest
from playwright.sync_api import Browser, Page, expect

from ..documents import Document, ServedNewcomer, newcomer, served_newcomer
from ..servers import PATIENCE, wait_for
from ..servers import browser as fetching
from .conftest import USER_AGENT

__all__ = ["newcomer", "served_newcomer"]

pytestmark = pytest.mark.timeout(240)


def opened(page: str, served: ServedNewcomer, browser: Browser) -> Page:
    """Follow a page, and return a new browser's tab."""
    document = Document(page)
    for one in (*document.starts_from, document):
        for block in one.blocks:
            served.follow(block)
    assert not served.unused
    tab = browser.new_page(user_agent=USER_AGENT)
    tab.set_default_timeout(PATIENCE * 1000)
    return tab


def counted(served: ServedNewcomer) -> Counter[tuple[str, str]]:
    """The events that the site's sandbox has, by their kind and by their way."""
    site = f"http://127.0.0.1:{served.ports['8000']}"
    events = fetching.get(f"{site}/_moe/sandbox/_sandbox/events").json()["events"]
    return Counter((one["action"].rpartition("_")[2], one["via"]) for one in events)


def test_the_front_end_shows_the_banner_and_its_reports_count(
    served_newcomer: ServedNewcomer, browser: Browser
) -> None:
    page = opened("docs/how-to/react.md", served_newcomer, browser)

    with page.expect_response("**/events") as seen:
        page.goto(f"http://127.0.0.1:{served_newcomer.ports['3000']}/")
    with page.expect_response("**/events") as clicked:
        page.get_by_role("button").click()

    expect(page.get_by_role("button")).not_to_have_text("Welcome")
    assert [one.value.json() for one in (seen, clicked)] == [{"counted": True}] * 2
    # The reader's own click, by curl, is among them.
    wanted = Counter({("SHOWN", "api"): 1, ("CLICKED", "api"): 2})
    wait_for(lambda: counted(served_newcomer) == wanted, what="its events")


def test_on_the_way_from_the_web_sdk_all_counts_once_but_for_the_mistake(
    served_newcomer: ServedNewcomer, browser: Browser
) -> None:
    page = opened("docs/how-to/from-web-sdk.md", served_newcomer, browser)
    site = f"http://127.0.0.1:{served_newcomer.ports['8000']}"
    # The reader has visited the second step, by curl.
    wanted = Counter({("SHOWN", "api"): 1})

    for path, more in {
        "/": {("SHOWN", "web_sdk"): 1},
        "/step-2": {("SHOWN", "api"): 1},
        "/mistake": {("SHOWN", "api"): 1, ("SHOWN", "web_sdk"): 1},
    }.items():
        page.goto(f"{site}{path}")
        wanted.update(more)
        wait_for(lambda: counted(served_newcomer) == wanted, what=f"events of {path}")
    page.goto(f"{site}/")
    page.get_by_role("heading").click()
    wanted.update({("SHOWN", "web_sdk"): 1, ("CLICKED", "web_sdk"): 1})
    wait_for(lambda: counted(served_newcomer) == wanted, what="a click")
