"""Nothing is kept of an event loop that has ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from moe_middleware import MoEngageClient, MoEngageMiddleware, Settings
from moe_middleware.concurrency.event_loops import PerLoop
from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.uvicorn import running

from ..alone import alone
from ..redis_servers import redis_server

ROUNDS = 8
SPARE = 3
"""Open files that may come and go by themselves."""

MEMORY: dict[str, Any] = {
    "events": {"outbox": "memory:"},
    "fetch": {"timeout": 5},
    "metadata": {"interval": 300},
    "routes": [{"path": "/", "experiences": ["homepage-banner"]}],
}
"""Settings of a site that stores everything in memory."""


async def home(request: Request) -> PlainTextResponse:
    hero = request.state.experiences["homepage-banner"]
    return PlainTextResponse(str(hero.source))


@pytest.fixture(scope="module")
def workspace() -> Iterator[dict[str, Any]]:
    sandbox = Sandbox()
    with socket.create_server(("127.0.0.1", 0)) as listener, running(sandbox, listener):
        known = sandbox.workspace
        yield {
            "id": known.workspace_id,
            "api_key": known.api_keys[0],
            "base_url": f"http://127.0.0.1:{listener.getsockname()[1]}/v1",
        }


def site(settings: Settings) -> Starlette:
    return Starlette(
        routes=[Route("/", home)],
        middleware=[Middleware(MoEngageMiddleware, config=settings)],
    )


def by_test_client(app: Starlette) -> str:
    return TestClient(app).get("/").text


def by_transport(app: Starlette) -> str:
    async def get() -> str:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://s") as one:
            return (await one.get("/")).text

    return asyncio.run(get())


def by_a_client(given: dict[str, Any]) -> Callable[[], None]:
    client = MoEngageClient(Settings(**given))

    def fetch() -> None:
        asyncio.run(client.fetch(["homepage-banner"], timeout=5))

    return fetch


def by_a_loop_closed_by_hand(given: dict[str, Any]) -> Callable[[], None]:
    client = MoEngageClient(Settings(**given))

    def fetch() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.fetch(["homepage-banner"], timeout=5))
        loop.close()

    return fetch


def pages(visit: Callable[[Starlette], str]) -> Any:
    def using(given: dict[str, Any]) -> Callable[[], None]:
        app = site(Settings(**given))

        def see_a_page() -> None:
            assert visit(app) in ("api", "cache")

        return see_a_page

    return using


USES = {
    "TestClient": pages(by_test_client),
    "ASGITransport": pages(by_transport),
    "client": by_a_client,
    "closed by hand": by_a_loop_closed_by_hand,
}


def left_open(*sites: dict[str, Any]) -> list[list[Any]]:
    """Return the open files and closed loops that more loops leave, by use."""
    found = []
    for name, given in itertools.product(USES, sites):
        use = USES[name](given)
        use()
        files, loops = open_files(), closed_loops()
        for _ in range(ROUNDS):
            use()
        found.append([name, open_files() - files, closed_loops() - loops])
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def closed_loops() -> int:
    gc.collect()
    found = (one for one in gc.get_objects() if isinstance(one, asyncio.BaseEventLoop))
    return sum(loop.is_closed() for loop in found)


@pytest.mark.skipif(sys.platform != "linux", reason="it counts in /proc")
def test_a_page_or_client_on_a_loop_of_its_own_leaves_nothing_open(
    workspace: dict[str, Any], tmp_path: Path
) -> None:
    given = MEMORY | {"workspace": workspace}
    with redis_server(tmp_path) as server:
        stores = {"cache": {"redis": server.url}, "budget": {"store": server.url}}

        found = alone(left_open, given, given | stores)

    assert len(found) == 2 * len(USES)
    # One loop may be part of an error that is still to be logged.
    assert [one for one in found if one[1] > SPARE or one[2] > 1] == []


# --- the mechanism ---------------------------------------------------------


class Value:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


async def use(values: PerLoop[Value]) -> tuple[Value, Value]:
    return values.current(), values.current()


def test_each_loop_has_one_value_that_ends_with_it() -> None:
    ended: list[Value] = []

    async def end(value: Value) -> None:
        assert asyncio.get_running_loop() is value.loop
        ended.append(value)

    values = PerLoop(Value, end=end)

    one, again = asyncio.run(use(values))
    other, _ = asyncio.run(use(values))

    assert one is again
    assert one is not other
    assert ended == [one, other]
    assert values.values() == []


def test_an_error_while_a_value_ends_is_nobodys() -> None:
    async def end(value: Value) -> None:
        raise OSError

    values = PerLoop(Value, end=end)

    asyncio.run(use(values))

    assert values.values() == []


def test_a_value_that_is_given_away_is_ended_by_its_taker() -> None:
    ended: list[Value] = []

    async def end(value: Value) -> None:
        ended.append(value)

    values = PerLoop(Value, end=end)

    async def take() -> Value | None:
        values.current()
        return values.pop()

    assert asyncio.run(take()) is not None
    assert ended == []


def test_of_a_loop_that_was_closed_by_hand_the_next_one_drops_the_value() -> None:
    dropped: list[weakref.ref[Value]] = []
    values = PerLoop(Value, drop=lambda value: dropped.append(weakref.ref(value)))

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use(values))
        loop.close()

    del loop
    gc.collect()
    assert [value() for value in dropped] == [None, None]
    assert len(values.values()) == 1


def test_a_loop_has_none_before_it_asks_for_one() -> None:
    values = PerLoop(Value)

    async def look() -> tuple[Value | None, Value | None]:
        return values.get(), values.pop()

    assert asyncio.run(look()) == (None, None)


@pytest.mark.parametrize("turns", [0, 3])
def test_it_ends_on_uvloop_as_well(turns: int) -> None:
    uvloop = pytest.importorskip("uvloop")
    ended: list[Value] = []

    async def end(value: Value) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        ended.append(value)

    values = PerLoop(Value, end=end)

    with contextlib.closing(asyncio.Runner(loop_factory=uvloop.new_event_loop)) as one:
        one.run(use(values))

    assert len(ended) == 1


def test_a_client_without_a_lifespan_says_once_what_is_not_delivered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def shown(request: Request) -> PlainTextResponse:
        request.state.experiences.show("homepage-banner")
        return PlainTextResponse("hello")

    app = MoEngageMiddleware(
        Starlette(routes=[Route("/", shown)]),
        config=Settings(
            data_center="sandbox",
            fetch={"timeout": 5},
            identity={"customer_id": {"cookie": "customer_id"}},
            routes=[{"path": "/", "experiences": ["homepage-banner"]}],
            # The pages' own loops have ended before it looks.
            events={"outbox": "memory:", "interval": 60},
        ),
    )

    for _ in range(3):
        TestClient(app, cookies={"customer_id": "alice"}).get("/")
    without = [one for one in caplog.messages if one.startswith("loop_ended")]
    caplog.clear()
    with TestClient(app, cookies={"customer_id": "alice"}) as client:
        client.get("/")

    assert len(without) == 1
    assert "with TestClient(app)" in without[0]
    assert "loop_ended" not in caplog.text
