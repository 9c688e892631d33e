"""Every ASGI framework, and every way it answers: what works bare works wrapped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.personalizer.runtime import Runtime
from moe_middleware.personalizer.runtimes import runtime_for
from moe_middleware.sandbox import Sandbox

from ..servers import until
from ..sites import settings
from . import asgi_apps
from .asgi_apps import DOWNLOAD_BYTES, FRAMEWORKS, PIECE, SSE
from .asgi_server import Answer, AsgiServer

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

pytestmark = [
    # Sanic's and Litestar's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Site(AsgiServer):
    """A framework's shop behind us, and how many impressions it counted."""

    def __init__(self, framework: str, config: Settings | None = None) -> None:
        self.config = config or everywhere()
        self.prefix = "/shop" if framework == "starlette-mounted" else ""
        super().__init__(FRAMEWORKS[framework](self._wrap))

    def _wrap(self, app: ASGIApp) -> ASGIApp:
        return MoEngageMiddleware(app, config=self.config)

    @property
    def runtime(self) -> Runtime:
        return runtime_for(self.config)

    async def get(self, path: str, customer: str = "alice", **how: Any) -> Answer:
        return await self.ask("GET", path, customer, **how)

    async def ask(
        self, method: str, path: str, customer: str = "alice", **how: Any
    ) -> Answer:
        headers = {"cookie": f"customer_id={customer}", **how.pop("headers", {})}
        return await self.request(
            method, f"{self.prefix}{path}", headers=headers, **how
        )

    async def impressions(self) -> int:
        return (await self.runtime.outbox.count()).waiting


def everywhere(**sections: Any) -> Settings:
    routes = [{"path": "/{rest:path}", "experiences": [asgi_apps.KEY]}]
    events = {"outbox": "memory:", "relay": "off"}
    return settings(routes=routes, events=events, **sections)


@asynccontextmanager
async def open_site(framework: str) -> AsyncIterator[Site]:
    of_django = framework == "django"
    with asgi_apps.django_settings() if of_django else nullcontext():
        async with Site(framework) as site:
            yield site


# --- the cells -------------------------------------------------------------


async def tag(site: Site) -> None:
    """A page with a tag, in the framework's own templates where it has some."""
    await _two_variations(site, "/tag")


async def async_template(site: Site) -> None:
    await _two_variations(site, "/async-tag")


async def _two_variations(site: Site, path: str) -> None:
    alice, bob = await site.get(path), await site.get(path, "bob")

    assert alice.status == 200, alice.text
    # A macro of one template and an include of another, in a block of a third.
    assert re.fullmatch("<body><h1>(.+)</h1>\\1</body>", alice.text)
    assert "Welcome" not in alice.text + bob.text
    assert alice.text != bob.text
    assert alice.headers["cache-control"] == "private, max-age=0"
    assert await site.impressions() == 2


async def handler(site: Site) -> None:
    """An async handler asks the framework's own request object."""
    await _own_title(site, "/handler")


async def thread(site: Site) -> None:
    """A sync handler, in a thread, asks ``current_experiences()``."""
    await _own_title(site, "/thread")


async def elsewhere(site: Site) -> None:
    """A template is given the request in a thread of the app's own."""
    await _own_title(site, "/elsewhere")


async def _own_title(site: Site, path: str) -> None:
    expected = {who: (await site.get(path, who)).text for who in ("alice", "bob")}
    assert len({"nobody", *expected.values()}) == 3, expected

    visitors = ["alice", "bob"] * 5
    answers = await asyncio.gather(*(site.get(path, who) for who in visitors))

    assert [one.text for one in answers] == [expected[who] for who in visitors]


async def stream(site: Site) -> None:
    """The experience is looked up while the body goes out, piece by piece."""
    title = (await site.get("/handler")).text.strip('"')
    answer = await site.get("/stream")

    assert answer.text == f"{PIECE}{title}{PIECE}"
    assert len(answer.bodies) >= 3
    assert await site.impressions() == 1


async def sse(site: Site) -> None:
    answer = await site.get("/events")

    assert answer.headers["content-type"].startswith(SSE)
    assert [body for body in answer.bodies if body][:2] == [
        b"data: 0\n\n",
        b"data: 1\n\n",
    ]


async def missing(site: Site) -> None:
    assert (await site.get("/nowhere")).status == 404
    assert await site.impressions() == 0


async def broken(site: Site) -> None:
    """A handler that raises: 500, or the error goes on to the server."""
    answer = await site.get("/broken")

    assert answer.messages == [] or answer.status == 500
    assert answer.messages or isinstance(answer.error, RuntimeError)
    assert await site.impressions() == 0


async def head(site: Site) -> None:
    assert (await site.ask("HEAD", "/tag")).status in (200, 405)
    assert await site.impressions() == 0


async def options(site: Site) -> None:
    assert (await site.ask("OPTIONS", "/echo")).status in (200, 204, 405)


async def disconnect(site: Site) -> None:
    """The visitor leaves in the middle of a page that has shown something."""
    answer = await site.get("/late", leave_after=2)

    assert answer.kinds == ["http.response.start", "http.response.body"]
    assert await site.impressions() == 0


async def background(site: Site) -> None:
    """A job after the response still sees whose it was."""
    asgi_apps.jobs.clear()
    answer = await site.get("/background")
    await until(lambda: asgi_apps.jobs)

    assert answer.status == 200
    assert asgi_apps.jobs == [answer.text.strip('"')]
    assert await site.impressions() == 1


async def file(site: Site) -> None:
    answer = await site.get("/file")

    assert answer.body == DOWNLOAD_BYTES
    assert await site.impressions() == 1


async def websocket(site: Site) -> None:
    messages = await site.websocket(f"{site.prefix}/ws", "hello")

    assert [one.get("text") for one in messages if one["type"] == "websocket.send"] == [
        "HELLO"
    ]


CELLS: tuple[Callable[[Site], Coroutine[Any, Any, None]], ...] = (
    *(tag, async_template, handler, thread, elsewhere, stream, sse, missing),
    *(broken, head, options, disconnect, background, file, websocket),
)
IMPOSSIBLE = {("django", "websocket"): "Django has no websockets"}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_matrix(
    sandbox: Sandbox, framework: str, cell: Callable[[Site], Coroutine[Any, Any, None]]
) -> None:
    if why := IMPOSSIBLE.get((framework, cell.__name__)):
        pytest.skip(why)
    async with open_site(framework) as site:
        await cell(site)


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
        for path in ("/tag", "/async-tag", "/handler"):
            answer = await server.request("GET", path, headers=headers)
            assert answer.status == 200

    assert len(built) > 10
    assert len({id(one.runtime) for one in built}) == 1
    assert sandbox.calls["fetch"] == 1
    assert (await built[0].runtime.outbox.count()).waiting == 2
