"""Event loops: one after the other, several at once, and one that is not asyncio's."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from moe_middleware import MoEngageMiddleware
from moe_middleware.sandbox import Sandbox

from ..servers import free_port, running
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


# --- no asyncio ------------------------------------------------------------


def by_hand(steps: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing, without any event loop."""
    with pytest.raises(StopIteration):
        steps.send(None)


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the app is not even asked")


def test_the_start_fails_and_says_why() -> None:
    sent_messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent_messages.append(message)

    site = MoEngageMiddleware(deaf, everywhere())
    with pytest.raises(RuntimeError, match="moe_middleware needs asyncio"):
        by_hand(site({"type": "lifespan"}, receive, send))

    assert [one["type"] for one in sent_messages] == ["lifespan.startup.failed"]
    assert "run hypercorn without --worker-class trio" in sent_messages[0]["message"]


def test_a_page_without_a_start_says_why_too() -> None:
    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    site = MoEngageMiddleware(deaf, everywhere())
    with pytest.raises(RuntimeError, match="moe_middleware needs asyncio"):
        by_hand(site({"type": "http"}, receive, send))


def test_hypercorn_with_trio_ends_at_its_start(tmp_path: Path) -> None:
    if importlib.util.find_spec("trio") is None:
        pytest.skip("trio is not installed")
    port, log = free_port(), tmp_path / "log"
    arguments = ["--bind", f"127.0.0.1:{port}", "--worker-class", "trio"]
    (tmp_path / "moe.yml").write_text(
        "workspace: {data_center: sandbox}\nroutes: []\nevents: {outbox: 'memory:'}\n"
    )
    with (
        pytest.raises(AssertionError, match="moe_middleware needs asyncio"),
        running(
            *("-m", "hypercorn", "tests.end_to_end.site:app", *arguments),
            port=port,
            log=log,
            environ={"MOE_CONFIG": str(tmp_path / "moe.yml")},
        ) as server,
    ):
        # It listens before its lifespan begins.
        server.process.wait(40)
        raise AssertionError(server.log())
