"""What an app sends is what its visitors get: with us, and byte for byte without."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moe_middleware import MoEngageMiddleware
from moe_middleware.sandbox import Sandbox

from ..sites import settings
from . import asgi_apps
from .asgi_apps import FRAMEWORKS
from .asgi_server import Answer, AsgiServer
from .test_asgi_matrix import everywhere

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OURS = {"cache-control", "vary", "server-timing"}
"""Headers that we may add or make stricter."""

# A bot gets the fallback, so that even a personal page is the bare one.
BOT = {"user-agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/tag", {}),
    ("GET", "/handler", {}),
    ("GET", "/thread", {}),
    ("GET", "/stream", {}),
    ("GET", "/late", {}),
    ("GET", "/late", {"leave_after": 3}),
    ("GET", "/file", {}),
    ("GET", "/file", {"headers": {"range": "bytes=10-19"}}),
    ("GET", "/nowhere", {}),
    ("GET", "/tag/", {}),
    ("GET", "/broken", {}),
    ("HEAD", "/tag", {}),
    ("HEAD", "/file", {}),
    ("OPTIONS", "/echo", {}),
    ("DELETE", "/tag", {}),
    ("POST", "/echo", {"body": (b"one ", b"", b"two ", bytes(range(256)) * 300)}),
    ("POST", "/echo", {"body": (b"cut o", b"ff"), "leave_after": 0}),
    ("GET", "/tag", {"headers": {"if-none-match": "*"}}),
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_recorded_requests_are_answered_alike(
    sandbox: Sandbox, framework: str
) -> None:
    prefix = "/shop" if framework == "starlette-mounted" else ""

    def wrap(app: ASGIApp) -> ASGIApp:
        return MoEngageMiddleware(app, config=everywhere())

    with asgi_apps.django_settings() if framework == "django" else nullcontext():
        async with (
            AsgiServer(FRAMEWORKS[framework](lambda app: app)) as bare,
            AsgiServer(FRAMEWORKS[framework](wrap)) as ours,
        ):
            for method, path, given in REQUESTS:
                how = {**given, "headers": {**BOT, **given.get("headers", {})}}
                expected, answer = [
                    await server.request(method, f"{prefix}{path}", **how)
                    for server in (bare, ours)
                ]
                assert alike(answer) == alike(expected), f"{method} {path} {given}"
    assert ours.events == bare.events or "ValueError" in bare.events


def alike(answer: Answer) -> Any:
    """What two answers have in common: every message, without headers of ours."""
    plain = []
    for message in answer.messages:
        copied = {**message}
        if "headers" in copied or copied["type"] == "http.response.start":
            copied["headers"] = [
                (bytes(name), bytes(value))
                for name, value in copied.get("headers", ())
                if bytes(name).lower().decode() not in OURS
            ]
        plain.append(copied)
    return plain, type(answer.error)


# --- apps that hypothesis makes --------------------------------------------

names = st.sampled_from([b"content-type", b"X-Odd", b"set-cookie", b"etag", b"Vary"])
values = st.binary(max_size=12)
headers = st.lists(st.tuples(names, values), max_size=4)
shapes = st.sampled_from(["list", "tuple", "once", "lists", "missing"])
bodies = st.one_of(st.binary(max_size=40), st.just(b"x" * 70_000))
pieces = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("http.response.body")}, optional={"body": bodies}
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("http.response.zerocopysend"),
                "file": st.just(3),
                "count": st.integers(0, 9),
            }
        ),
    ),
    max_size=4,
)
asides: st.SearchStrategy[list[Message]] = st.lists(
    st.sampled_from(
        [
            {"type": "http.response.debug", "info": {"template": "page"}},
            {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]},
            {"type": "http.response.push", "path": "/a.css", "headers": []},
        ]
    ),
    max_size=2,
)
endings = st.sampled_from(
    ["body", "no more_body", "empty", "pathsend", "zerocopysend", "trailers", "nothing"]
)


class Scripted:
    """An app that sends given messages, for any request."""

    def __init__(self, messages: list[Message], fails_at: int | None) -> None:
        self._messages = messages
        self._fails_at = fails_at
        self.heard: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        self.heard.append({**await receive()})
        for index, message in enumerate(self._messages):
            if index == self._fails_at:
                raise RuntimeError("broken app")
            once: Any = message.get("headers")
            given = {"headers": iter(once)} if isinstance(once, Once) else {}
            await send({**message, **given})
        if ends(self._messages):
            self.heard.append({**await receive()})


def ends(messages: list[Message]) -> bool:
    """Whether the server will say that it is over."""
    more = messages[-1].get("more_body", False)
    return messages[-1]["type"] != "http.response.start" and not more


class Once(list[tuple[bytes, bytes]]):
    """Headers that the app gives as an iterator, which can be read but once."""


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Message], int | None]:
    ending = draw(endings)
    start: Message = {"type": "http.response.start", "status": draw(statuses)}
    shape, given_headers = draw(shapes), draw(headers)
    match shape:
        case "lists":
            start["headers"] = [[name, value] for name, value in given_headers]
        case "missing":
            pass
        case "once":
            start["headers"] = Once(given_headers)
        case "tuple":
            start["headers"] = tuple(given_headers)
        case _:
            start["headers"] = given_headers
    if ending == "trailers" or draw(st.booleans()):
        start["trailers"] = ending == "trailers"
    messages = [*draw(asides), start]
    messages += [{**piece, "more_body": True} for piece in draw(pieces)]
    lasts: dict[str, list[Message]] = {
        "body": [{"type": "http.response.body", "body": b"end", "more_body": False}],
        "no more_body": [{"type": "http.response.body", "body": b"end"}],
        "empty": [{"type": "http.response.body"}],
        "pathsend": [{"type": "http.response.pathsend", "path": "/tmp/file"}],
        "zerocopysend": [{"type": "http.response.zerocopysend", "file": 3}],
        "trailers": [
            {"type": "http.response.body", "body": b""},
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [(b"a", b"b")]},
        ],
        "nothing": [],
    }
    messages += lasts[ending]
    return messages, draw(st.none() | st.integers(0, len(messages)))


statuses = st.sampled_from([200, 204, 206, 302, 304, 404, 500])

MAPPED = everywhere()
UNMAPPED = settings(routes=[], events={"outbox": "memory:", "relay": "off"})


@given(
    conversation=conversations(),
    request_body=st.lists(st.binary(max_size=9), min_size=1, max_size=3),
    leave_after=st.none() | st.integers(1, 4),
    mapped=st.booleans(),
)
def test_any_legal_conversation_passes_as_it_is(
    conversation: tuple[list[Message], int | None],
    request_body: list[bytes],
    leave_after: int | None,
    mapped: bool,
) -> None:
    messages, fails_at = conversation
    config = MAPPED if mapped else UNMAPPED
    apps = Scripted(messages, fails_at), Scripted(messages, fails_at)

    async def visit() -> list[Answer]:
        servers = AsgiServer(apps[0]), AsgiServer(MoEngageMiddleware(apps[1], config))
        return [
            await server.request(
                *("POST", "/any"),
                headers={"cookie": "customer_id=alice"},
                body=request_body,
                leave_after=leave_after,
            )
            for server in servers
        ]

    bare, ours = asyncio.run(visit())

    assert alike(ours) == alike(bare)
    assert apps[1].heard == apps[0].heard


async def test_a_message_that_an_app_keeps_stays_as_it_was(sandbox: Sandbox) -> None:
    """Or the next visitor would get the cookie of the one before."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    server = AsgiServer(MoEngageMiddleware(app, everywhere()))
    cookies = [
        [
            value
            for name, value in (await server.request("GET", "/")).messages[0]["headers"]
            if name == b"set-cookie"
        ]
        for _ in range(2)
    ]

    assert [len(one) for one in cookies] == [1, 1]
    assert cookies[0] != cookies[1]
    assert start["headers"] == []


# --- what counts, message by message ---------------------------------------


def app_of(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["experiences"].show(asgi_apps.KEY)
        for message in messages:
            await send(message)

    return app


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
SIZED: Message = {**START, "headers": [(b"Content-Length", b"4")]}
MORE: Message = {"type": "http.response.body", "body": b"ab", "more_body": True}
BODY: Message = {"type": "http.response.body", "body": b"cd"}
TRAILED: Message = {**START, "trailers": True}
TRAILER: Message = {"type": "http.response.trailers", "headers": []}


def endings_that_count() -> Iterator[tuple[str, list[Message], int]]:
    yield "one body", [START, BODY], 1
    yield "two bodies", [START, MORE, BODY], 1
    yield "an unfinished body", [START, MORE], 0
    yield "no body", [START], 0
    yield "a body twice", [START, BODY, BODY], 1
    yield "a file by its path", [START, {"type": "http.response.pathsend"}], 1
    yield "a file by its handle", [START, {"type": "http.response.zerocopysend"}], 1
    yield (
        "a file and more",
        [START, {"type": "http.response.zerocopysend", "more_body": True}],
        0,
    )
    yield "all the bytes promised, and no end", [SIZED, MORE, MORE], 1
    yield "fewer bytes than promised", [SIZED, MORE], 0
    yield "trailers to come", [TRAILED, BODY], 0
    yield "trailers", [TRAILED, BODY, {**TRAILER, "more_trailers": True}, TRAILER], 1


@pytest.mark.parametrize(
    ("messages", "impressions"),
    [pytest.param(m, n, id=name) for name, m, n in endings_that_count()],
)
async def test_an_impression_is_counted_with_the_last_byte(
    sandbox: Sandbox, messages: list[Message], impressions: int
) -> None:
    ours = MoEngageMiddleware(app_of(*messages), everywhere())

    await AsgiServer(ours).request("GET", "/", headers={"cookie": "customer_id=alice"})

    assert (await ours.runtime.outbox.count()).waiting == impressions


# --- messages to the app -----------------------------------------------------


async def test_headers_that_can_be_read_but_once_are_the_apps_as_well(
    sandbox: Sandbox,
) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])
        seen.append(bool(scope["state"]["experiences"][asgi_apps.KEY]))
        await send(START)
        await send(BODY)

    class OnceServer(AsgiServer):
        def _scope(self, *about: Any) -> Scope:
            scope = super()._scope(*about)
            return {**scope, "headers": iter([iter(pair) for pair in scope["headers"]])}

    ours = MoEngageMiddleware(app, everywhere())
    await OnceServer(ours).request("GET", "/", headers={"cookie": "customer_id=alice"})

    assert seen == [
        (b"host", b"shop.example"),
        (b"user-agent", b"Firefox"),
        (b"cookie", b"customer_id=alice"),
        True,
    ]


@pytest.mark.parametrize("path", ["/", "/_moe/moe.js"])
async def test_a_request_without_headers_is_handled(
    sandbox: Sandbox, path: str
) -> None:
    """As in Starlette's own tests, which call apps by hand."""
    seen: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append("headers" in scope)
        await send(START)
        await send(BODY)

    class BareServer(AsgiServer):
        def _scope(self, *about: Any) -> Scope:
            scope = super()._scope(*about)
            del scope["headers"]
            return scope

    ours = MoEngageMiddleware(app, everywhere())
    answer = await BareServer(ours).request("GET", path)

    assert answer.status == 200
    assert seen in ([], [False])


async def test_extensions_stay_what_the_server_offers(sandbox: Sandbox) -> None:
    # Not every Starlette's FileResponse takes the extension.
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.pathsend" in scope["extensions"]
        scope["state"]["experiences"].show(asgi_apps.KEY)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        path = str(asgi_apps.download())
        await send({"type": "http.response.pathsend", "path": path})

    ours = MoEngageMiddleware(app, everywhere())
    server = AsgiServer(ours, extensions=["http.response.pathsend"])

    answer = await server.request(
        "GET", "/file", headers={"cookie": "customer_id=alice"}
    )

    assert answer.kinds == ["http.response.start", "http.response.pathsend"]
    assert (await ours.runtime.outbox.count()).waiting == 1


MEGABYTES = 40


async def test_large_bodies_pass_through_without_being_kept(sandbox: Sandbox) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["experiences"].show(asgi_apps.KEY)
        while (await receive())["more_body"]:
            pass
        await send(START)
        for left in reversed(range(MEGABYTES)):
            piece = {"type": "http.response.body", "body": bytes(1 << 20)}
            await send({**piece, "more_body": left > 0})

    async def receive() -> Message:
        left = next(lefts, None)
        if left is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": left != 0}

    async def send(message: Message) -> None: ...

    lefts = reversed(range(MEGABYTES))
    headers = [(b"cookie", b"customer_id=alice")]
    ours = MoEngageMiddleware(app, everywhere())

    tracemalloc.start()
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await ours(scope, receive, send)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 << 20
    assert (await ours.runtime.outbox.count()).waiting == 1
