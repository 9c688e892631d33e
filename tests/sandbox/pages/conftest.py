"""A sandbox to look at: in process, and served on a real port for a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.listeners import address_of, listen
from moe_middleware.sandbox.uvicorn import running
from tests.servers import PATIENCE

from ..arrivals import action, element

expect.set_options(timeout=PATIENCE * 1000)

HTML = {"Accept": "text/html,application/xhtml+xml"}


def impression(
    sandbox: Sandbox,
    customer_id: str = "erin",
    *,
    at: float | None = None,
    clicked: bool = False,
    **more: Any,
) -> None:
    """Let the homepage's banner be seen, or clicked."""
    experience = sandbox.workspace.experiences[0]
    audience = experience.audiences[-1]
    now = sandbox.clock()
    placed = {"token": experience.cid_token, "audience": audience.audience_id} | more
    one = action(str(uuid4()), clicked=clicked, at=int(at or now), **placed)
    sandbox.store.record([element(one, customer=customer_id)], now)


Look = Callable[..., str]


@pytest.fixture
def look(sandbox: Sandbox) -> Look:
    """Return a function that opens a page and returns its HTML."""

    def look_at(path: str, status: int = 200, root_path: str = "") -> str:
        client = TestClient(sandbox, root_path=root_path)
        answer = client.get(path, headers=HTML)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return answer.text

    return look_at


@dataclass(frozen=True, slots=True)
class Site:
    """A sandbox served to the browser."""

    sandbox: Sandbox
    address: str


@pytest.fixture
def site() -> Iterator[Site]:
    sandbox = Sandbox()
    with listen() as listener, running(sandbox, listener):
        yield Site(sandbox, address_of(listener))


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    page = browser.new_page(
        base_url=site.address, viewport={"width": 1280, "height": 900}
    )
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    page.close()


@pytest.fixture
def console(page: Page) -> Iterator[list[str]]:
    """What the page complains of; whatever it is, the test fails for it."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield complaints
    assert complaints == []
