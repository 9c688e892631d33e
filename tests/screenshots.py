"""Photographs the demo and its sandbox for README and the documentation.

``python -m tests.screenshots`` starts the demo, visits it as one of its customers, and
writes ``docs/images/demo-light.png`` and the others.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .servers import free_port, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH, HEIGHT = 1280, 800

PAGES = {"demo": "/", "sandbox": "/sandbox/explain?customer_id=alice"}
"""What the shop shows to a gold member, and why."""

# A headless browser says so of itself, and counts as a bot.
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


def photograph(browser: Browser, demo: str, folder: Path = IMAGES) -> Iterator[Path]:
    """Photograph the pages of a running demo, and yield each image.

    Args:
        browser: The browser.
        demo: The demo's address.
        folder: The images' folder, which is made.
    """
    folder.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT},
            color_scheme=scheme,
            user_agent=_AGENT,
        )
        for name, value in {"customer_id": "alice", "consent": "yes"}.items():
            context.add_cookies([{"name": name, "value": value, "url": demo}])
        page = context.new_page()
        # The strip at the top counts this visit on the next.
        page.goto(demo, wait_until="networkidle")
        for name, path in PAGES.items():
            page.goto(f"{demo}{path}", wait_until="networkidle")
            image = folder / f"{name}-{scheme}.png"
            page.screenshot(path=image)
            yield image
        context.close()


def size_of(image: bytes) -> tuple[int, int]:
    """Return the width and the height of a PNG."""
    assert image[12:16] == b"IHDR", "no PNG"
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def main() -> None:
    """Start the demo and a browser, and photograph."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        port, log = free_port(), Path(folder) / "demo.log"
        environ = {
            "MOE_DEMO_OUTBOX": f"sqlite:///{folder}/outbox.db",
            "MOE_DEMO_BUDGET": "5",
        }
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox"],
        )
        demo = ("-m", "demo_app", "--port", str(port))
        with running(*demo, port=port, log=log, environ=environ) as shop:
            for image in photograph(chromium, shop.url):
                print(f"{image.name}: {image.stat().st_size // 1000} kB")
        chromium.close()


if __name__ == "__main__":
    main()
