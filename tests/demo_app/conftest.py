"""A shop to visit in-process, a shop served by a process of its own, a browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from starlette.testclient import TestClient

from demo_app.app import CONFIG, build_app
from moe_middleware import Settings
from moe_middleware.sandbox import embedded

from ..servers import PATIENCE, free_port, running

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
def served_demo(folder: Path) -> Iterator[str]:
    """The address of a shop served as ``make demo`` serves it."""
    port = free_port()
    environ = {
        "MOE_DEMO_OUTBOX": f"sqlite:///{folder}/served.db",
        "MOE_DEMO_BUDGET": "5",
    }
    with running(
        *("-m", "demo_app", "--port", str(port)),
        port=port,
        log=folder / "demo.log",
        environ=environ,
        measured=False,
    ) as shop:
        yield shop.url


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
