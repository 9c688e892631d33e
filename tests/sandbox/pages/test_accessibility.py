"""Every page is sound for screen readers, keyboards and weak eyes, by axe-core."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .conftest import Site, impression
from .test_browser import PAGES

axe = pytest.importorskip("axe_playwright_python.sync_playwright")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_nothing_wrong_and_landmarks_are_there(
    page: Page, site: Site, width: int, scheme: str
) -> None:
    for number in range(30):
        impression(site.sandbox, f"erin-{number}", variation_id=str(1 + number % 2))
    impression(site.sandbox, "erin-1", what="CLICKED", b_id="cta")
    site.sandbox.fault("fetch", status=503, times=None)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    for path in (*PAGES, "/no-such-page", "/explain?attributes=broken"):
        page.goto(path)
        found = axe.Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        if path in PAGES:
            assert_landmarks(page, path)


def assert_landmarks(page: Page, path: str) -> None:
    """Landmarks, one heading of level one, captions and a place for messages."""
    assert page.get_by_role("heading", level=1).count() == 1, path
    for role in ("banner", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, (path, role)
    assert page.locator("table:not(:has(caption))").count() == 0, path
    assert page.locator("[role=status][aria-live=polite]").count() == 1, path
