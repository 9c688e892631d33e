"""The client in sync code: without an event loop, beside one, in threads and forks."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from moe_middleware import (
    AuthenticationError,
    DeadlineError,
    Event,
    Identity,
    MoEngageError,
    SettingsError,
    SyncMoEngageClient,
)
from moe_middleware.concurrency.background_loop import background
from moe_middleware.sandbox import Sandbox

from .test_client import FETCHED

ALICE = Identity(customer_id="alice")


def test_a_script_fetches_lists_and_reports(sandbox: Sandbox) -> None:
    with SyncMoEngageClient(data_center="sandbox") as client:
        hero = client.fetch(["homepage-banner"], identity=ALICE)["homepage-banner"]
        paused = client.metadata(["Paused"])
        client.report([Event.click(hero, "alice", b_id="Shop Now")])

    assert hero.Title == "The first flush is yours"
    assert [one.status for one in paused] == ["Paused"]
    assert sandbox.clicks("homepage-banner", b_id="Shop Now") == 1


async def test_it_works_beside_a_running_loop_as_in_a_notebook() -> None:
    with SyncMoEngageClient(data_center="sandbox") as client:
        assert client.fetch(["homepage-banner"], identity=ALICE)


def test_threads_share_one() -> None:
    with SyncMoEngageClient(data_center="sandbox") as client:

        def title(customer: str) -> Any:
            found = client.fetch(
                ["homepage-banner"], identity=Identity(customer_id=customer)
            )
            return found.identity.customer_id

        with ThreadPoolExecutor(8) as threads:
            customers = [f"u{number}" for number in range(40)]
            assert [*threads.map(title, customers)] == customers


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(401), AuthenticationError),
        (httpx.ReadTimeout("slow"), DeadlineError),
    ],
)
def test_errors_are_the_async_clients(answer: Any, kind: type[MoEngageError]) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code)

    client = SyncMoEngageClient(
        {"workspace": {"id": "W", "api_key": "K", "data_center": "02"}, "routes": []},
        transport=lambda: httpx.MockTransport(server),
    )

    with pytest.raises(kind):
        client.fetch(["hero"])
    with pytest.raises(TypeError, match=r"write \['hero'\]"):
        client.fetch("hero")
    with pytest.raises(TypeError, match=r"write \['Paused'\]"):
        client.metadata("Paused")
    with pytest.raises(SettingsError):
        SyncMoEngageClient(data_center="nowhere")


def test_it_is_used_again_after_its_end() -> None:
    opened = []

    class Transport(httpx.MockTransport):
        def __init__(self) -> None:
            super().__init__(lambda request: httpx.Response(200, json=FETCHED))
            opened.append(self)
            self.is_open = True

        async def aclose(self) -> None:
            self.is_open = False

    client = SyncMoEngageClient(
        data_center="02", workspace_id="W", api_key="K", transport=Transport
    )

    client.close()
    for _ in range(2):
        with client:
            assert client.fetch(["hero"])["hero"].Title == "Sale"

    assert [one.is_open for one in opened] == [False, False]


async def test_on_its_own_loop_it_says_what_to_do() -> None:
    client = SyncMoEngageClient(data_center="sandbox")

    async def as_an_observer() -> None:
        client.metadata()

    with pytest.raises(RuntimeError, match="await the async method"):
        background.run(as_an_observer())


SCRIPT = """
import logging, os, sys
from moe_middleware import Identity, SyncMoEngageClient
# With -X dev it warns of slow steps, as a busy machine's are.
logging.getLogger("asyncio").setLevel(logging.ERROR)
client = SyncMoEngageClient(
    workspace_id="sandbox", api_key="sandbox-key", base_url=sys.argv[1] + "/v1"
)
def title():
    alice = Identity(customer_id="alice")
    found = client.fetch(["homepage-banner"], identity=alice, timeout=60)
    return found["homepage-banner"].Title
assert title() == "The first flush is yours"
for _ in range(2):
    child = os.fork()
    if child == 0:
        # Grandchildren, too: a worker's worker.
        if grandchild := os.fork():
            assert os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if title() == "The first flush is yours" else 1)
    assert os.waitpid(child, 0)[1] == 0
print(title())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_forked_child_has_connections_of_its_own(address: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, address],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (ran.stdout.strip(), ran.stderr) == ("The first flush is yours", "")


FINALIZER = """
from moe_middleware import SyncMoEngageClient
class Shop:
    client = SyncMoEngageClient(data_center="sandbox")
    def __del__(self, print=print):
        self.client.close()
        try:
            self.client.metadata()
        except RuntimeError as error:
            print(error)
shop = Shop()
shop.client.metadata()
"""


def test_a_finalizer_at_the_interpreters_end_does_not_wait_for_ever() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FINALIZER], capture_output=True, text=True, timeout=60
    )

    assert ran.stdout.startswith("the interpreter is ending")
    assert (ran.stderr, ran.returncode) == ("", 0)
