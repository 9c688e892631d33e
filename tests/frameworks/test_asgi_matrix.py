"""Every ASGI framework, and every way it answers: what works bare works wrapped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.personalizer.runtime import Runtime
from moe_middleware.sandbox import Sandbox

from ..sites import settings
from . import asgi_apps
from .asgi_apps import DOWNLOAD_BYTES, FRAMEWORKS, PIECE
from .asgi_server import Answer, AsgiServer

pytestmark = [
    # Sanic's and Litestar's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Site(AsgiServer):
    """A framework's shop behind us, and how many impressions it counted."""

    def __init__(self, framework: str) -> None:
        self.config = everywhere()
        self.prefix = "/shop" if framework == "starlette-mounted" else ""
        self._counted = 0
        super().__init__(FRAMEWORKS[framework](self._wrap))

    def _wrap(self, app: ASGIApp) -> ASGIApp:
        return MoEngageMiddleware(app, config=self.config)

    @property
    def runtime(self) -> Runtime:
        return runtime_for(self.config)

    async def get(self, path: str, customer: str = "alice", **how: Any) -> Answer:
        headers = {"cookie": f"customer_id={customer}"}
        return await self.request("GET", f"{self.prefix}{path}", headers=headers, **how)

    async def counted(self) -> int:
        """Return how many impressions came since the last time."""
        before = self._counted
        self._counted = (await self.runtime.outbox.count()).waiting
        return self._counted - before


def everywhere() -> Settings:
    routes = [{"path": "/{rest:path}", "experiences": [asgi_apps.KEY]}]
    return settings(routes=routes, events={"outbox": "memory:", "relay": "off"})


@asynccontextmanager
async def open_site(framework: str) -> AsyncIterator[Site]:
    of_django = framework == "django"
    with asgi_apps.django_settings() if of_django else nullcontext():
        async with Site(framework) as site:
            yield site


async def tag(site: Site) -> None:
    """A page with a tag, in the framework's own templates where it has some."""
    alice, bob = await site.get("/tag"), await site.get("/tag", "bob")

    assert alice.status == 200, alice.text
    # A macro of one template and an include of another, in a block of a third.
    assert re.fullmatch("<body><h1>(.+)</h1>\\1</body>", alice.text)
    assert "Welcome" not in alice.text + bob.text
    assert alice.text != bob.text
    assert alice.headers["cache-control"] == "private, max-age=0"
    assert await site.counted() == 2


async def titles(site: Site) -> None:
    """They are on the framework's own request, in threads, and there by a request."""
    visitors = ["alice", "bob"] * 5
    for path in ("/handler", "/thread", "/elsewhere"):
        expected = {who: (await site.get(path, who)).text for who in ("alice", "bob")}
        assert len({"nobody", *expected.values()}) == 3, expected

        answers = await asyncio.gather(*(site.get(path, who) for who in visitors))

        assert [one.text for one in answers] == [expected[who] for who in visitors]
    # Of these, a template alone shows what it reads.
    assert await site.counted() == 12


async def stream(site: Site) -> None:
    """The experience is looked up while the body goes out, piece by piece."""
    answer = await site.get("/stream")

    title = (await site.get("/handler")).text
    assert answer.text == f"{PIECE}{title}{PIECE}"
    assert len(answer.bodies) >= 3
    assert await site.counted() == 1


async def disconnect(site: Site) -> None:
    """The visitor leaves in the middle of a page that has shown something."""
    answer = await site.get("/late", leave_after=2)

    assert answer.kinds == ["http.response.start", "http.response.body"]
    assert await site.counted() == 0


async def file(site: Site) -> None:
    assert (await site.get("/file")).body == DOWNLOAD_BYTES
    assert await site.counted() == 1


async def broken(site: Site) -> None:
    """A handler that raises: 500, or the error goes on to the server."""
    answer = await site.get("/broken")

    assert answer.status == 500 if answer.messages else answer.error
    assert await site.counted() == 0


async def websocket(site: Site) -> None:
    messages = await site.websocket(f"{site.prefix}/ws", "hello")

    assert [one.get("text") for one in messages if one["type"] == "websocket.send"] == [
        "HELLO"
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_matrix(sandbox: Sandbox, framework: str) -> None:
    async with open_site(framework) as site:
        for cell in (tag, titles, stream, disconnect, file, broken):
            await cell(site)
        if framework != "django":  # which has no websockets
            await websocket(site)


# --- sites that are built otherwise ----------------------------------------


async def test_litestars_many_instances_are_one_site(sandbox: Sandbox) -> None:
    """It builds one for every route and method, and none of them hears a lifespan."""
    built: list[MoEngageMiddleware] = []

    def wrap(app: ASGIApp) -> ASGIApp:
        built.append(MoEngageMiddleware(app, config=config))
        return built[-1]

    config = everywhere()
    async with AsgiServer(FRAMEWORKS["litestar-defined"](wrap)) as server:
        headers = {"cookie": "customer_id=alice"}
        for path in ("/tag", "/handler"):
            answer = await server.request("GET", path, headers=headers)
            assert answer.status == 200

    assert len(built) > 10
    assert len({id(one.runtime) for one in built}) == 1
    assert sandbox.calls["fetch"] == 1
    assert (await built[0].runtime.outbox.count()).waiting == 1
