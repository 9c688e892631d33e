"""A shop to visit in-process, a shop served by a process of its own, a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from starlette.testclient import TestClient

from demo_app.app import CONFIG, build_app
from moe_middleware import Settings
from moe_middleware.sandbox import embedded

from ..servers import PATIENCE

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Firefox/145.0"}
CONSENT = {"consent": "yes"}
expect.set_options(timeout=PATIENCE * 1000)

OpenShop = Callable[..., TestClient]


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[OpenShop]:
    """Return a function that opens the shop for a visitor who consents.

    Its keywords are environment variables.
    """
    with ExitStack() as stack:

        def open_one(**environ: str) -> TestClient:
            outbox = {"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/outbox.db"}
            settings = Settings.load(
                CONFIG, environ=environ | outbox, fetch={"timeout": 5}
            )
            app = build_app(settings, environ)
            client = TestClient(app, headers=BROWSER, follow_redirects=False)
            stack.enter_context(client)
            client.post("/consent", data=CONSENT)
            return client

        yield open_one


@pytest.fixture
def shop(open_shop: OpenShop) -> TestClient:
    """A visitor's browser, and the shop with its own sandbox."""
    embedded().reset()
    return open_shop()


@pytest.fixture
def newcomer(shop: TestClient) -> TestClient:
    """A browser that has not answered the consent question."""
    shop.cookies.delete("consent")
    return shop


@contextmanager
def served(*command: str, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a command until its address is printed; yield that address."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MOE_")}
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        env=inherited | dict(environ or {}),
    ) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    pytest.fail("the server ended without printing its address")


def consent(context: BrowserContext, address: str) -> None:
    """Give a browser's consent."""
    context.add_cookies(
        [{"name": k, "value": v, "url": address} for k, v in CONSENT.items()]
    )


def eventually(look: Callable[[], int], wanted: int, within: float = PATIENCE) -> int:
    """Return what ``look`` sees once it is ``wanted``, or after ``within`` seconds."""
    deadline = time.monotonic() + within
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen
