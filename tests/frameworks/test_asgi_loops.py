"""Event loops: one after the other, and several at once."""

from __future__ import annotations

import asyncio
import threading

from starlette.testclient import TestClient

from moe_middleware import MoEngageMiddleware
from moe_middleware.sandbox import Sandbox

from .asgi_apps import starlette_app
from .asgi_server import AsgiServer
from .test_asgi_matrix import everywhere

ALICE = {"cookie": "customer_id=alice"}


def test_a_loop_for_every_request(sandbox: Sandbox) -> None:
    """As Starlette's test client without its ``with`` has them."""
    site = MoEngageMiddleware(starlette_app(), everywhere())
    browser = TestClient(site, headers=ALICE)

    pages = [browser.get("/tag").text for _ in range(3)]
    count = asyncio.run(site.runtime.outbox.count())

    assert len({*pages}) == 1
    assert "Welcome" not in pages[0]
    assert count.waiting == 3


def test_loops_at_once(sandbox: Sandbox) -> None:
    site = MoEngageMiddleware(starlette_app(), everywhere())
    expected = {who: _titles(site, who, 1) for who in ("alice", "bob")}
    seen: dict[str, set[str]] = {}
    threads = [
        threading.Thread(target=lambda who=who: seen.update({who: _titles(site, who)}))
        for who in expected
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == expected
    assert expected["alice"] != expected["bob"]


def _titles(site: MoEngageMiddleware, who: str, times: int = 20) -> set[str]:
    async def visit() -> set[str]:
        server = AsgiServer(site)
        headers = {"cookie": f"customer_id={who}"}
        answers = [
            server.request("GET", "/thread", headers=headers) for _ in range(times)
        ]
        return {answer.text for answer in await asyncio.gather(*answers)}

    return asyncio.run(visit())
