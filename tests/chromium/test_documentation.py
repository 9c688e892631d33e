"""The documentation's site in a browser: it fits, reads well, asks no one else."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from ..documentation_site import built_site
from ..servers import PATIENCE

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

KINDS = ("", "explanation/request/", "reference/api/openfeature/")
"""Small pages with all kinds of elements, as axe takes seconds for a large one: the
front, code with a table, names of Python."""

WIDE = ("how-to/clicks/", "reference/metrics/", "reference/api/settings/")
"""Code, a table and names that are wide."""

OVERFLOW = """document.documentElement.scrollWidth
  - document.documentElement.clientWidth"""
"""The pixels by which a page is wider than its window."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built site."""
    folder = built_site(tmp_path_factory)
    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 850})
    yield context.new_page()
    context.close()


def test_pages_fit_and_are_accessible(page: Page, site: str) -> None:
    requested, complaints = set(), []
    page.on("request", lambda request: requested.add(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    for path in (*KINDS, *WIDE):
        page.goto(f"{site}{path}", wait_until="networkidle")
        # Colors that are still changing have no contrast.
        page.add_style_tag(content="* { transition: none !important }")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 850})
            assert page.evaluate(OVERFLOW) <= 0, (path, width)
        if path in KINDS:
            found = axe.Axe().run(page).response["violations"]
            # The theme changes the colors alone.
            page.emulate_media(color_scheme="dark")
            dark = page.evaluate("axe.run({runOnly: ['color-contrast']})")
            page.emulate_media(color_scheme="light")
            complaints += [
                f"{path} {one['id']}: {one['nodes'][0]['html'][:200]}"
                for one in (*found, *dark["violations"])
                if one["impact"] in ("serious", "critical")
            ]

    assert complaints == []
    assert [
        url for url in requested if not url.startswith((site, "data:", "blob:"))
    ] == []


def test_search_finds_a_setting(page: Page, site: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 850})
    page.goto(site, wait_until="networkidle")

    page.get_by_role("button", name="Search").first.click()
    page.locator('input[aria-label="Search"]').fill("shutdown_timeout")

    found = page.locator('a[href*="#events-shutdown_timeout"]').last
    expect(found).to_be_visible(timeout=PATIENCE * 1000)
