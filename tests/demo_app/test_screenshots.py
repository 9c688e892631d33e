"""The script that photographs the demo for README still does it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from ..screenshots import HEIGHT, IMAGES, WIDTH, photograph, size_of


def test_a_running_demo_is_photographed(
    browser: Browser, served_shop: str, tmp_path: Path
) -> None:
    images = [*photograph(browser, served_shop, tmp_path)]

    assert sorted(one.name for one in images) == sorted(
        one.name for one in IMAGES.glob("*.png")
    )
    for image in images:
        assert size_of(image.read_bytes()) == (WIDTH, HEIGHT)
    light, dark = (tmp_path / f"demo-{one}.png" for one in ("light", "dark"))
    assert light.read_bytes() != dark.read_bytes()
