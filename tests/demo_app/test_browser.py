"""The demo as a newcomer sees it: served as ``make demo`` does, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ..chromium.looking import complaints_of
from ..screenshots import HEIGHT, IMAGES, WIDTH, photograph, size_of
from ..servers import PATIENCE
from .conftest import consent, eventually, served_demo


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_demo(tmp_path_factory.mktemp("demo")) as address:
        yield address


def shown(page: Page) -> int:
    """How many impressions this page says it counts for."""
    return page.locator(".made td").filter(has_text="once").count()


def total(page: Page) -> int:
    found = page.locator("[data-total]")
    return int(found.inner_text()) if found.count() else -1


def test_visitors_differ_and_each_impression_counts_once(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(base_url=address)
    context.set_default_timeout(PATIENCE * 1000)
    consent(context, address)
    page = context.new_page()
    complaints = complaints_of(page)

    # The sandbox of a shop that only this machine reaches asks for no token.
    assert page.request.post("/sandbox/_sandbox/reset").ok
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
    assert complaints == []
    context.close()


def test_it_is_photographed_for_the_readme(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    images = [*photograph(browser, address, tmp_path)]

    assert sorted(one.name for one in images) == sorted(
        one.name for one in IMAGES.glob("*.png")
    )
    for image in images:
        assert size_of(image.read_bytes()) == (WIDTH, HEIGHT)
    light, dark = (tmp_path / f"demo-{one}.png" for one in ("light", "dark"))
    assert light.read_bytes() != dark.read_bytes()
