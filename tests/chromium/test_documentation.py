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

PAGES = (
    *("", "how-to/clicks/", "reference/metrics/", "reference/reasons/"),
    *("reference/api/settings/", "explanation/outages/"),
)
"""The front, a how-to, entries, a table, names of Python, and a wide table."""


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


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_pages_fit_and_are_accessible(
    browser: Browser, site: str, width: int, scheme: str
) -> None:
    requested, complaints = set(), []
    context = browser.new_context(
        viewport={"width": width, "height": 850},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.on("request", lambda request: requested.add(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    for path in PAGES:
        page.goto(f"{site}{path}", wait_until="networkidle")
        assert _overflow(page) <= 0, path
        found = axe.Axe().run(page).response["violations"]
        complaints += [
            f"{path} {one['id']}: {one['nodes'][0]['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
    context.close()

    assert complaints == []
    assert [
        url for url in requested if not url.startswith((site, "data:", "blob:"))
    ] == []


def _overflow(page: Page) -> int:
    """Return the pixels by which a page is wider than its window."""
    wide: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wide


def test_search_finds_a_setting(browser: Browser, site: str) -> None:
    page = browser.new_page()
    page.goto(site, wait_until="networkidle")

    page.get_by_role("button", name="Search").first.click()
    page.locator('input[aria-label="Search"]').fill("shutdown_timeout")

    found = page.locator('a[href*="#events-shutdown_timeout"]').last
    expect(found).to_be_visible(timeout=PATIENCE * 1000)
    page.close()
