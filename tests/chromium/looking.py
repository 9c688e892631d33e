"""What tests do with a page of a real browser, and the site that it visits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from playwright.sync_api import ConsoleMessage, Error, Page
from starlette.types import ASGIApp

from moe_middleware.sandbox.listeners import address_of, listen
from moe_middleware.sandbox.uvicorn import running

from ..servers import wait_for


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an app by a thread of its own; yield its address."""
    with listen() as listener, running(app, listener):
        yield address_of(listener)


def complaints_of(page: Page, kinds: Collection[str] = ("error",)) -> list[str]:
    """Return the texts of a page's console and its errors, as they come."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in kinds:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def reach(look: Callable[[], int], wanted: int) -> None:
    """Wait for so many events, and see that there are no more."""
    wait_for(lambda: look() >= wanted, what=f"{wanted} events")
    assert look() == wanted


def until(page: Page, code: str) -> None:
    """Wait until code is true in a page.

    Playwright's own way evaluates within the page, which a policy may forbid.
    """

    def look() -> bool:
        try:
            return bool(page.evaluate(code))
        except Error:
            return False  # Between two pages there is none.

    wait_for(look, what=code)


def freeze(page: Page) -> None:
    """Let the page's clock stand still, but for what the test lets pass."""
    page.clock.install(time=1_800_000_000)
    page.clock.pause_at(1_800_000_001)
