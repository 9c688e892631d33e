"""Experiences that are used after the response began, after its end, or elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import ChainMap, UserDict
from collections.abc import AsyncIterator, Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import State
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.responses import StreamingResponse as Stream
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moe_middleware import (
    DuplicateMiddlewareError,
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    current_experiences,
)
from moe_middleware.sandbox import Sandbox

from ..sites import Site, settings

KEY = "homepage-banner"
PUBLIC = {"cache-control": "public, max-age=60"}


def unmapped(handler: Any, **sections: Any) -> Site:
    return Site(handler, routes=[], **sections)


def lines(caplog: pytest.LogCaptureFixture, event: str) -> int:
    return sum(one.getMessage().startswith(event) for one in caplog.records)


def request_scope(customer: str = "alice", **more: Any) -> Scope:
    headers = [(b"cookie", f"customer_id={customer}".encode())]
    plain = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
    return {**plain, "headers": headers, **more}


async def body_of(app: ASGIApp, scope: Scope) -> str:
    """Return the body that an app sends to a visitor who stays."""
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    return b"".join(sent).decode()


# --- after the response began -----------------------------------------------------


@pytest.mark.parametrize("how", ["state", "current"])
async def test_a_stream_whose_handler_took_them_is_private_ahead(
    sandbox: Sandbox, how: str
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences if how == "state" else current_experiences()

        async def parts() -> AsyncIterator[str]:
            yield "<h1>"
            yield (await found.fetch(KEY))["Title"]

        return Stream(parts(), headers=PUBLIC)

    answer = await unmapped(handler).get(customer="alice")

    assert answer.headers["cache-control"] == "private, max-age=60"
    assert len(answer.text) > len("<h1>")


async def test_a_stream_that_takes_them_too_late_gets_a_fallback_and_one_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            found = request.state.experiences
            for _ in range(2):
                yield str((await found.fetch(KEY)).reason)
                yield str(found.show(KEY).reason)
            yield str(list(found))

        return Stream(parts(), headers=PUBLIC)

    site = unmapped(handler)
    answer = await site.get(customer="alice")
    await site.delivered()

    assert answer.headers["cache-control"] == "public, max-age=60"
    assert answer.text == "too_late" * 4 + "[]"
    assert (lines(caplog, "read_too_late"), sandbox.calls["fetch"]) == (2, 0)
    assert sandbox.events == []


async def test_a_content_length_hides_no_late_use(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            yield str(request.state.experiences[KEY].reason)

        return Stream(parts(), headers={**PUBLIC, "content-length": "8"})

    answer = await Site(handler).get(customer="alice")

    assert answer.text == "too_late"
    assert "private" not in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("method", "header"),
    [("GET", "private"), ("GET", "no-store"), ("POST", "max-age=60")],
)
async def test_what_no_cache_keeps_for_others_may_be_used_late(
    sandbox: Sandbox, method: str, header: str
) -> None:
    async def handler(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            found = await request.state.experiences.fetch(KEY)
            yield str(found.source)

        return Stream(parts(), headers={"cache-control": header})

    site = unmapped(handler)
    answer = await site.request(method, customer="alice")

    assert (answer.text, answer.headers["cache-control"]) == ("api", header)


async def test_a_new_visitor_who_cannot_keep_an_id_is_not_counted(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    tracked: list[Any] = []

    async def later(found: Any) -> None:
        await found.fetch(KEY)
        tracked.append(found.identity.visitor_id)
        tracked.append(found.track_click(KEY, "b"))

    async def handler(request: Request) -> Response:
        found = request.state.experiences
        return PlainTextResponse("x", background=BackgroundTask(later, found))

    site = unmapped(handler)
    answer = await site.get()
    await site.delivered()

    assert tracked == [None, None]
    assert "set-cookie" not in answer.headers and sandbox.events == []
    assert lines(caplog, "visitor_id_not_kept") == 1


# --- after its end ----------------------------------------------------------------


async def test_a_background_task_tracks_and_fetches(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Any] = []

    async def later(found: Any) -> None:
        kept.append(found.track_click(KEY, "b"))
        kept.append((await found.fetch("price-badge")).source)
        kept.append(found.track_click("price-badge", "c"))
        found.show("price-badge")
        found.show("price-badge")

    async def handler(request: Request) -> Response:
        found = request.state.experiences
        return PlainTextResponse("x", background=BackgroundTask(later, found))

    site = Site(handler)
    await site.get(customer="alice")
    await site.delivered()

    assert kept[0] and kept[1] == "api" and kept[2]
    assert (sandbox.clicks(KEY), sandbox.clicks("price-badge")) == (1, 1)
    assert sandbox.impressions("price-badge") == 0
    assert lines(caplog, "shown_too_late key=price-badge") == 1


async def test_a_task_that_outlives_its_request_tracks_and_fetches(
    sandbox: Sandbox,
) -> None:
    tasks: list[asyncio.Task[Any]] = []
    gone = asyncio.Event()

    async def later(request: Request) -> Any:
        await gone.wait()
        found = request.state.experiences
        assert found is current_experiences()
        fetched = await found.fetch("promo-strip")
        return fetched.source, found.track_click(KEY, "b"), found[KEY].attrs("b")

    async def handler(request: Request) -> Response:
        tasks.append(asyncio.ensure_future(later(request)))
        return PlainTextResponse("x")

    site = Site(handler, secret_key="a-secret-for-this-test-and-no-other")
    await site.get(customer="alice")
    gone.set()
    source, uuid, attrs = await tasks[0]
    await site.delivered()

    assert source == "api" and uuid and attrs
    assert sandbox.clicks(KEY, "b") == 1


def test_a_thread_without_the_request_says_so_and_one_with_it_works(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    reasons: list[Any] = []

    def look() -> None:
        reasons.append(current_experiences()[KEY].reason)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        context = contextvars.copy_context()
        for run in (look, look, lambda: context.run(look)):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        start_response("200 OK", [])
        return [b"x"]

    ask(MoEngageWSGIMiddleware(app, config=settings()))

    assert reasons == ["no_request", "no_request", None]
    assert lines(caplog, "no_request at=test_late_use.py:") == 1


# --- WSGI: until the first part ---------------------------------------------------


def ask(app: Any) -> tuple[dict[str, str], bytes]:
    headers_sent: dict[str, str] = {}

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        headers_sent.update({name.lower(): value for name, value in headers})
        return lambda data: None

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": ""}
    environ |= {"wsgi.url_scheme": "http", "HTTP_COOKIE": "customer_id=alice"}
    body = app(environ, start_response)
    try:
        return headers_sent, b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()


@pytest.mark.parametrize("lazy", [False, True])
def test_headers_follow_what_is_read_until_they_leave(
    sandbox: Sandbox, lazy: bool
) -> None:
    def generator(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*PUBLIC.items(), ("content-length", "3")])
        found = environ["moe_middleware.experiences"].fetch_sync(KEY)
        yield str(found.source).encode()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        return [*generator(environ, start_response)]

    headers_sent, body = ask(
        MoEngageWSGIMiddleware(generator if lazy else app, config=settings(routes=[]))
    )

    assert (headers_sent["cache-control"], body) == ("private, max-age=60", b"api")


def test_a_wsgi_stream_that_reads_too_late_gets_a_fallback(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*PUBLIC.items()])

        def parts() -> Iterator[bytes]:
            yield b"x"
            found = environ["moe_middleware.experiences"]
            yield str(found.fetch_sync(KEY).reason).encode()

        return parts()

    headers_sent, body = ask(MoEngageWSGIMiddleware(app, config=settings(routes=[])))

    assert (headers_sent["cache-control"], body) == ("public, max-age=60", b"xtoo_late")
    assert lines(caplog, "read_too_late") == 1


# --- the request is read when it comes in -------------------------------------------


async def test_what_inner_layers_change_in_place_is_not_read(sandbox: Sandbox) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scope["root_path"] = "/inner"
        scope["path"], scope["method"] = "/other", "POST"
        scope["query_string"] = b""
        scope["headers"].clear()
        hero = await scope["state"]["experiences"].fetch(KEY)
        values = [
            hero.click_url("/shop", "b"),
            hero.experience_context["audience_name"],
        ]
        await JSONResponse(values)(scope, receive, send)

    site = Site(app=app, routes=[], secret_key="a-secret-for-this-test-and-no-other")
    answer = await site.get(customer="alice")

    assert answer.json()[0].startswith("/_moe/c/")
    assert "Gold" in answer.json()[1]


def test_the_same_under_the_wsgi_door(sandbox: Sandbox) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ.update(SCRIPT_NAME="/inner", PATH_INFO="/x", REQUEST_METHOD="POST")
        environ.pop("HTTP_COOKIE")
        hero = environ["moe_middleware.experiences"].fetch_sync(KEY)
        start_response("200 OK", [])
        return [hero.click_url("/shop", "b").encode()]

    secret = "a-secret-for-this-test-and-no-other"
    _, body = ask(
        MoEngageWSGIMiddleware(app, config=settings(routes=[], secret_key=secret))
    )

    assert body.startswith(b"/_moe/c/")


async def test_headers_that_can_be_read_once_are_the_apps_too(sandbox: Sandbox) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.extend([*scope["headers"], *scope["headers"]])
        await scope["state"]["experiences"].fetch(KEY)

    once = iter([(b"cookie", b"customer_id=alice")])
    door = MoEngageMiddleware(app, config=settings(routes=[]))
    await body_of(door, request_scope(headers=once))

    assert len(seen) == 2


# --- what layers share ------------------------------------------------------------


async def test_the_servers_state_is_not_ours_to_write_into(sandbox: Sandbox) -> None:
    shared: dict[str, Any] = {"database": object()}
    seen: list[Any] = []

    class Outer(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            request.state.outer = "before"
            response: Response = await call_next(request)
            seen.append(request.state.inner)
            return response

    async def handler(request: Request) -> Response:
        state = request.state
        seen.append((state.outer, state.database is shared["database"]))
        state.inner = "set"
        assert request.scope["state"].setdefault("inner") == "set"
        request.scope["state"].update(more=1)
        request.scope["state"].pop("more")
        assert request.scope["state"].get("more", "gone") == "gone"
        return PlainTextResponse(str(state.experiences.identity.customer_id))

    inner = MoEngageMiddleware(
        Starlette(routes=[Route("/", handler)]), config=settings()
    )
    app = Starlette(routes=[Mount("/", app=inner)], middleware=[Middleware(Outer)])

    scopes = [request_scope(customer, state=shared) for customer in ("alice", "bob")]
    pages = await asyncio.gather(*(body_of(app, scope) for scope in scopes))

    assert pages == ["alice", "bob"]
    assert "experiences" not in shared and "more" not in shared
    assert seen.count("set") == 2 and seen.count(("before", True)) == 2


async def test_a_second_try_is_no_second_middleware(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse(str(request.state.experiences[KEY].source))

    inner, scope = Site(handler).app, request_scope()
    tries = [await body_of(inner, given) for given in (scope, scope, dict(scope))]

    assert tries == ["api", "cache", "cache"]
    twice = MoEngageMiddleware(inner, config=settings())
    for _ in range(2):
        with pytest.raises(DuplicateMiddlewareError):
            await body_of(twice, dict(scope))


async def test_two_tries_with_one_scope_at_a_time_are_two_pages(
    sandbox: Sandbox,
) -> None:
    both = asyncio.Barrier(2)

    async def handler(request: Request) -> Response:
        async with asyncio.timeout(30):
            await both.wait()
        found = request.state.experiences
        request.state.seen = found
        found.show(KEY)
        same = current_experiences() is found
        return Response(f"{found.identity.customer_id} {same}")

    site = Site(handler)
    shared = request_scope(state={})
    pages = await asyncio.gather(*(body_of(site.app, shared) for _ in range(2)))
    await site.delivered()

    assert pages == ["alice True"] * 2

    assert sandbox.impressions(KEY) == 2


@pytest.mark.parametrize(
    "given",
    [
        MappingProxyType({"db": 1}),
        SimpleNamespace(db=1),
        State({"db": 1}),
        ChainMap({}, {"db": 1}),
        UserDict(db=1),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_a_state_of_any_kind_is_taken_over(given: Any, sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        request.state.more = 2
        title = request.state.experiences[KEY]["Title"]
        return Response(f"{request.state.db} {request.state.more} {bool(title)}")

    inner = Site(handler).app

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = given
        await inner(scope, receive, send)

    assert await body_of(outer, request_scope()) == "1 2 True"
    assert "experiences" not in str(given)


def test_a_second_try_with_the_same_environ_need_not_close_the_first(
    sandbox: Sandbox,
) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [str(environ["moe_middleware.experiences"][KEY].source).encode()]

    door = MoEngageWSGIMiddleware(app, config=settings())
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http"}
    environ["HTTP_COOKIE"] = "customer_id=alice"
    answers = [b"".join(door(environ, lambda *_: lambda _: None)) for _ in range(2)]

    assert answers == [b"api", b"cache"]
    with pytest.raises(DuplicateMiddlewareError):
        ask(MoEngageWSGIMiddleware(door, config=settings()))


# --- time -------------------------------------------------------------------------


async def test_waits_beside_each_other_count_once(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        keys = ("homepage-banner", "price-badge", "promo-strip")
        await asyncio.gather(*map(found.fetch, keys))
        return PlainTextResponse(str((await found.fetch("cart-upsell")).reason))

    sandbox.fault(path="fetch", latency=0.4, times=10)
    site = Site(handler, routes=[], fetch={"timeout": 1.1})
    answer = await site.get(customer="alice")

    assert answer.text != "timeout"


@pytest.mark.parametrize(
    ("how", "of_a_route", "elsewhere"),
    [
        *(("stopped", True, "thread"), ("closed", True, "thread")),
        *(("stopped", False, "loop"), ("closed", True, "loop")),
    ],
)
def test_a_loop_that_has_ended_costs_a_thread_the_budget_and_no_more(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    how: str,
    of_a_route: bool,
    elsewhere: str,
) -> None:
    kept: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kept.append(scope["state"]["experiences"])
        await PlainTextResponse("")(scope, receive, send)

    more: dict[str, Any] = {} if of_a_route else {"routes": []}
    door = MoEngageMiddleware(app, settings(fetch={"timeout": 0.1}, **more))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(body_of(door, request_scope()))
    loop.run_until_complete(loop.shutdown_asyncgens())
    if how == "closed":
        loop.close()
    found = kept[0]

    if elsewhere == "loop":
        missed = asyncio.run(found.fetch("promo-strip"))
    else:
        missed = found.fetch_sync("promo-strip")
        found.ready_sync()

    assert (missed.key, missed.reason) == ("promo-strip", "timeout")
    assert not missed
    assert lines(caplog, "loop_silent loop=stopped") <= 1
    loop.close()
