"""The demo as a newcomer sees it: served, in Chromium."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from playwright.sync_api import Browser, Page, expect

from ..servers import PATIENCE
from .conftest import consent, eventually


@pytest.fixture
def console(page: Page) -> list[str]:
    """What the page complains of, as it comes."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type == "error" else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


@pytest.fixture
def page(browser: Browser, served_shop: str) -> Page:
    context = browser.new_context(
        base_url=served_shop, viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(PATIENCE * 1000)
    consent(context, served_shop)
    return context.new_page()


def shown(page: Page) -> int:
    """How many impressions this page says it counts for."""
    return page.locator(".made td").filter(has_text="once").count()


def total(page: Page) -> int:
    found = page.locator("[data-total]")
    return int(found.inner_text()) if found.count() else -1


def test_visitors_differ_and_each_impression_counts_once(
    page: Page, console: list[str]
) -> None:
    page.goto("/")
    anonymous = page.locator("h1").inner_text()
    first = shown(page)
    assert first > 0
    assert eventually(lambda: total(page), first) == first

    page.get_by_role("button", name="alice").click()
    expect(page.get_by_role("button", name="alice")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert page.locator("h1").inner_text() != anonymous
    second = shown(page)
    assert second > first
    assert eventually(lambda: total(page), first + second) == first + second

    # The strip goes on asking, and nothing else happens.
    page.wait_for_timeout(2_500)
    assert total(page) == first + second
    assert console == []


def test_shop_works_without_a_script(browser: Browser, served_shop: str) -> None:
    context = browser.new_context(base_url=served_shop, java_script_enabled=False)
    consent(context, served_shop)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("button", name="bob").click()
    page.get_by_role("link", name="Sencha").click()
    badge = page.locator(".badge").inner_text()
    seen = eventually(lambda: total_after_reload(page, "/nothing"), 7)

    assert badge == "Silver price"
    # The home page twice, with two and three impressions, then sencha's with two.
    assert seen == 7


def total_after_reload(page: Page, path: str) -> int:
    page.goto(path)
    return total(page)


def test_taken_port_is_one_plain_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, "-m", "demo_app", "--port", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )

    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        f"Cannot listen on 127.0.0.1 port {port} (Address already in use). "
        f"Choose another: --port {port + 1}"
    ]
