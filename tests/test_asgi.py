from __future__ import annotations

import asyncio
import gc
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.convertors import (
    CONVERTOR_TYPES,
    Convertor,
    register_url_convertor,
)
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moe_middleware import (
    DuplicateMiddlewareError,
    Experience,
    Experiences,
    MoEngageMiddleware,
    Visit,
)
from moe_middleware.sandbox import Sandbox

from .alone import alone
from .servers import until
from .sites import Clock, Handler, Site, rendered, settings

KEY = "homepage-banner"


async def quiet(request: Request) -> Response:
    return PlainTextResponse("quiet")


async def title(request: Request) -> Response:
    return PlainTextResponse(str(request.state.experiences[KEY].get("Title")))


# --- what the app sees -----------------------------------------------------


async def test_the_experiences_are_there_on_a_path_that_no_route_names(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        hero = request.state.experiences["hero"]
        return JSONResponse([bool(hero), hero.payload, hero.reason])

    response = await Site(handler, path="/elsewhere").get("/elsewhere")

    assert response.json() == [False, {}, "not_requested"]
    assert sandbox.calls["fetch"] == 0


async def test_a_key_that_the_route_did_not_name_can_be_fetched(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        strip = await request.state.experiences.fetch("promo-strip")
        again = await request.state.experiences.fetch("promo-strip")
        return JSONResponse([bool(strip), strip is again])

    response = await Site(handler, path="/elsewhere").get("/elsewhere")

    assert response.json() == [True, True]
    assert sandbox.calls["fetch"] == 1
    assert "moe_visitor" in response.headers["set-cookie"]


async def test_a_page_that_changes_an_answer_changes_no_other_page(
    sandbox: Sandbox,
) -> None:
    seen: list[tuple[str | None, str, str]] = []

    async def handler(request: Request) -> Response:
        strip = request.state.experiences.show("promo-strip")
        seen.append((strip.source, strip["Text"], strip.experience_context["cid"]))
        strip.payload.update(Text="changed", More="of it")
        strip.experience_context.update(cid="changed")
        return PlainTextResponse("ok")

    # Email visitors have one variation, at any hour: one answer, which is kept once.
    site = Site(
        handler,
        routes=[{"path": "/", "experiences": ["promo-strip"]}],
        attributes={"utm_medium": {"query": "utm_medium"}},
    )
    for customer in ("alice", "bob", "carol", "carol", "bob", "alice", "alice"):
        await site.get("/?utm_medium=email", customer=customer)

    assert [source for source, *_ in seen] == ["api"] * 3 + ["cache"] * 4
    assert len({one[1:] for one in seen}) == 1


async def test_installing_it_twice_explains_itself() -> None:
    once = Site(title).app
    twice = MoEngageMiddleware(once, config=settings())

    with pytest.raises(DuplicateMiddlewareError, match="installed twice"):
        await ask(twice, "/")


def cycles_of_ten_pages() -> int:
    """Return how many objects only a garbage collection frees after ten pages."""

    async def visit() -> int:
        site = Site(identity={"customer_id": {"value": "alice"}})
        for _ in range(3):
            await ask(site.app, "/")
        gc.collect()
        gc.disable()
        for _ in range(10):
            await ask(site.app, "/")
        return gc.collect()

    return asyncio.run(visit())


def test_a_request_leaves_nothing_for_the_garbage_collector() -> None:
    assert alone(cycles_of_ten_pages) == 0


# --- the visitor -----------------------------------------------------------

COOKIE = re.compile(
    r"moe_visitor=([0-9a-f-]{36}); Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax"
)


async def test_an_anonymous_visitor_gets_an_id_which_is_kept_and_counted(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        response = await rendered()(request)
        response.set_cookie("session", "s")
        return response

    site = Site(handler)
    first = await site.get()
    others, ours = first.headers.get_list("set-cookie")
    found = COOKIE.fullmatch(ours)
    assert found is not None
    visitor_id = found[1]

    second = await site.get(headers={"cookie": f"moe_visitor={visitor_id}"})
    await site.delivered()

    assert others.startswith("session=s")
    assert uuid.UUID(visitor_id).version == 4
    assert len(second.headers.get_list("set-cookie")) == 1
    assert second.text == first.text
    assert [one["customer_id"] for one in sandbox.events] == [visitor_id] * 2


async def test_the_cookie_is_secure_on_https(sandbox: Sandbox) -> None:
    response = await Site().get(base_url="https://shop.example")

    assert response.headers["set-cookie"].endswith("; Secure")


async def test_switched_off_anonymous_visitors_get_no_id_and_no_events(
    sandbox: Sandbox,
) -> None:
    site = Site(identity={"anonymous": "off"})

    response = await site.get()
    await site.delivered()

    assert "<h1>" in response.text
    assert "Welcome" not in response.text
    assert "set-cookie" not in response.headers
    assert sandbox.events == []


# --- pages that are for one visitor alone ------------------------------------


async def using(request: Request) -> Response:
    body = str(request.state.experiences[KEY])
    return PlainTextResponse(body, headers={"cache-control": "public, max-age=60"})


async def streaming(request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        yield str(request.state.experiences.show(KEY).Title)

    return StreamingResponse(body())


@pytest.mark.parametrize(
    ("handler", "identity", "sent", "cache_control", "vary"),
    [
        (using, {"cookie": "id"}, {"cookie": "id=alice"}, "private, max-age=60", None),
        (
            *(using, {"header": "X-Customer"}, {"x-customer": "alice"}),
            *("private, max-age=60", "Cookie, X-Customer"),
        ),
        # It may use them when its headers have left.
        (
            streaming,
            {"cookie": "id"},
            {"cookie": "id=alice"},
            "private, max-age=0",
            None,
        ),
        # A new visitor's cookie is no other one's.
        (quiet, {"cookie": "id"}, {}, "private, max-age=0", None),
        (quiet, {"cookie": "id"}, {"cookie": "id=alice"}, None, ""),
    ],
)
async def test_a_page_for_one_visitor_is_private(
    sandbox: Sandbox,
    handler: Handler,
    identity: dict[str, str],
    sent: dict[str, str],
    cache_control: str | None,
    vary: str | None,
) -> None:
    site = Site(handler, identity={"customer_id": identity})

    headers = (await site.get(headers=sent)).headers

    assert headers.get("cache-control") == cache_control
    assert headers.get("vary", "") == ("Cookie" if vary is None else vary)


# --- impressions -----------------------------------------------------------


async def test_a_shown_experience_is_one_impression(sandbox: Sandbox) -> None:
    site = Site(events={"outbox": "memory:", "user_timezone_offset": 19800})

    await site.get(customer="alice")
    await site.delivered()

    [event] = sandbox.events
    assert event["action"] == "MOE_PERSONALIZATION_MESSAGE_SHOWN"
    assert event["customer_id"] == "alice"
    assert event["platform"] == "web"
    assert event["user_timezone_offset"] == 19800
    assert uuid.UUID(event["moe_event_uuid"]).version == 4
    assert event["attributes"]["experience_type"] == "API based Experience"
    assert isinstance(event["event_time"], int)


async def test_shown_twice_in_one_page_counts_once(sandbox: Sandbox) -> None:
    tag = '{% experience "homepage-banner" %}x{% endexperience %}'
    site = Site(rendered(f"{tag}{tag}{{% for i in range(3) %}}{tag}{{% endfor %}}"))

    response = await site.get(customer="alice")
    await site.delivered()

    assert response.text == "xxxxx"
    assert len(sandbox.events) == 1


async def test_read_but_not_shown_does_not_count(sandbox: Sandbox) -> None:
    site = Site(title)

    await site.get(customer="alice")
    await site.delivered()

    assert sandbox.events == []


GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


async def test_a_prefetch_does_not_count(sandbox: Sandbox) -> None:
    site = Site(identity={"customer_id": {"value": "alice"}})

    response = await site.get(headers={"sec-purpose": "prefetch"})
    await site.delivered()

    assert "Welcome" not in response.text
    assert sandbox.events == []


async def test_a_bot_costs_no_call_and_gets_the_fallback_and_no_id(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        other = await found.fetch("promo-strip")
        return JSONResponse([found[KEY].source, found[KEY].reason, other.reason])

    response = await Site(handler).get(headers={"user-agent": GOOGLEBOT})

    assert response.json() == ["fallback", "bot", "bot"]
    assert "set-cookie" not in response.headers
    assert sandbox.calls["fetch"] == 0


async def test_a_bot_may_be_personalized_but_never_counts(sandbox: Sandbox) -> None:
    site = Site(
        identity={"customer_id": {"value": "alice"}}, bots={"personalize": "on"}
    )

    response = await site.get(headers={"user-agent": GOOGLEBOT})
    await site.delivered()

    assert "Welcome" not in response.text
    assert (sandbox.calls["fetch"], sandbox.events) == (1, [])


@pytest.mark.parametrize(
    ("method", "status", "counted"),
    [
        ("GET", 200, 1),
        ("GET", 201, 1),
        ("POST", 200, 1),
        ("GET", 304, 1),
        ("HEAD", 200, 0),
        ("GET", 302, 0),
        ("GET", 404, 0),
        ("GET", 500, 0),
    ],
)
async def test_only_a_good_response_counts(
    sandbox: Sandbox, method: str, status: int, counted: int
) -> None:
    async def handler(request: Request) -> Response:
        request.state.experiences.show(KEY)
        return Response(status_code=status)

    site = Site(handler)

    response = await site.request(method, customer="alice")
    await site.delivered()

    assert response.status_code == status
    assert len(sandbox.events) == counted


async def test_a_send_that_fails_counts_nothing(sandbox: Sandbox) -> None:
    site = Site(identity={"customer_id": {"value": "alice"}})

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await site.app(http_scope("/"), _empty_body, send)
    await site.delivered()

    assert sandbox.events == []


async def test_the_impression_waits_for_the_last_byte(sandbox: Sandbox) -> None:
    waiting: list[int] = []

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            request.state.experiences.show(KEY)
            yield b"first"
            waiting.append((await site.runtime.outbox.count()).waiting)
            yield b"last"

        return StreamingResponse(body())

    site = Site(handler)
    await site.get(customer="alice")

    assert waiting == [0]
    assert (await site.runtime.outbox.count()).waiting == 1


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize("leaves", [True, False])
async def test_one_who_left_a_stream_that_never_waits_is_not_counted(
    sandbox: Sandbox, listens: bool, leaves: bool
) -> None:
    gone, loop = asyncio.Event(), asyncio.get_running_loop()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["experiences"].show(KEY)
        listening = asyncio.ensure_future(receive()) if listens else None
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for more in (True, False):
            body = {"type": "http.response.body", "body": b"x", "more_body": more}
            await send(body)
        if listening is not None:
            listening.cancel()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message.get("more_body") and leaves:
            # The socket is heard in one turn of the loop, its protocol in the next.
            loop.call_soon(loop.call_soon, gone.set)

    site = Site(app=app, identity={"customer_id": {"value": "alice"}})
    await site.app(http_scope("/"), receive, send)
    await site.delivered()

    assert len(sandbox.events) == (0 if leaves else 1)


@pytest.mark.parametrize("listens", ["never", "once", "always"])
@pytest.mark.parametrize("leaves", [True, False])
async def test_what_the_server_tells_is_heard_once_by_the_app_and_by_us(
    sandbox: Sandbox, listens: str, leaves: bool
) -> None:
    """A server such as Daphne tells each thing once, to the first who asks."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while listens != "never":
                heard.append((await receive())["type"])
                if listens == "once" or heard[-1] == "http.disconnect":
                    return

        scope["state"]["experiences"].show(KEY)
        # It begins only when the event loop runs: with the response's end.
        listening = asyncio.create_task(listen())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if leaves:
            incoming.put_nowait({"type": "http.disconnect"})
        for more in (True, False):
            body = {"type": "http.response.body", "body": b"x", "more_body": more}
            await send(body)
        listening.cancel()
        if listens == "never":
            heard.append((await receive())["type"])

    site = Site(app=app, identity={"customer_id": {"value": "alice"}})
    await site.app(http_scope("/"), incoming.get, _nowhere)
    await site.delivered()

    assert len(sandbox.events) == (0 if leaves else 1)
    gone = ["http.disconnect"] * (leaves and listens == "always")
    assert heard == ["http.request", *gone]


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("leaves", [True, False])
async def test_one_who_left_before_a_slow_page_came_is_not_counted(
    sandbox: Sandbox, leaves: bool, layers: int
) -> None:
    async def through(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["experiences"].show(KEY)
        site.clock.now += 1
        if leaves:
            incoming.put_nowait({"type": "http.disconnect"})
        await HTMLResponse("page")(scope, receive, send)

    site = Site(app=app, identity={"customer_id": {"value": "alice"}})
    outermost: ASGIApp = site.app
    for _ in range(layers):
        outermost = BaseHTTPMiddleware(outermost, dispatch=through)
    await outermost(http_scope("/"), incoming.get, _nowhere)
    await site.delivered()

    assert len(sandbox.events) == (0 if leaves else 1)


async def never(visit: Visit) -> str:
    await asyncio.Event().wait()
    return "alice"


async def test_the_budget_holds_for_a_call_that_hangs(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    identity = {"customer_id": {"call": never}}
    site = Site(fetch={"timeout": 0.05}, identity=identity)

    response = await site.get()

    assert "Welcome" in response.text
    [line] = [one for one in caplog.messages if one.startswith("value_failed")]
    assert "it takes longer than the page may wait (fetch.timeout)" in line


async def test_a_session_without_a_usable_id_is_one_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(identity={"customer_id": {"session": "customer"}})
    scope = {**http_scope("/"), "session": {"customer": {"id": 7}}}

    await site.app(scope, _empty_body, _nowhere)

    lines = [one for one in caplog.records if one.levelname != "INFO"]
    assert [one.getMessage().split()[0] for one in lines] == ["value_failed"]


async def _nowhere(message: Message) -> None:
    """Take a response's message."""


# --- when the API fails ----------------------------------------------------


def far_from_the_next_minute(sandbox: Sandbox) -> None:
    """Let a 429's reset be half a minute away, or the page would wait for it."""
    sandbox.freeze(time.time() + 30)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 400}, "invalid_request"),
        ({"status": 401}, "unauthorized"),
        ({"status": 429}, "rate_limited"),
        ({"status": 503, "times": 9}, "server_error"),
        ({"drop": True, "times": 9}, "unreachable"),
        ({"latency": 5.0}, "timeout"),
    ],
    ids=str,
)
async def test_the_page_still_comes_with_its_fallback_and_the_reason(
    sandbox: Sandbox,
    fault: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        banner = request.state.experiences[KEY]
        return JSONResponse([bool(banner), banner.source, banner.reason])

    far_from_the_next_minute(sandbox)
    sandbox.fault(path="fetch", **fault)

    budget = 0.1 if "latency" in fault else 5

    response = await Site(handler, fetch={"timeout": budget}).get(customer="alice")

    assert response.json() == [False, "fallback", reason]
    # The fetch's own end may come just after the page's.
    await until(lambda: f"fetch_failed reason={reason}" in caplog.text)
    assert "alice" not in caplog.text


class Broken(Convertor[str]):
    regex = "[^/]+"

    def convert(self, value: str) -> str:
        raise RuntimeError(f"no idea what {value} is")

    def to_string(self, value: str) -> str:
        return value


@pytest.fixture
def broken_convertor() -> Iterator[None]:
    register_url_convertor("broken", Broken())
    yield
    del CONVERTOR_TYPES["broken"]


async def test_a_mistake_of_our_own_or_the_apps_never_breaks_the_page(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, broken_convertor: None
) -> None:
    routes = [{"path": "/{it:broken}", "experiences": [KEY]}]

    response = await Site(quiet, path="/secret", routes=routes).get("/secret")

    assert response.text == "quiet"
    assert "prefetch_failed error=RuntimeError" in caplog.text
    assert "no idea" not in caplog.text


async def test_an_event_that_cannot_be_kept_never_breaks_the_page(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def handler(request: Request) -> Response:
        unkeepable = Experience(key="x", experience_context={"cid": object()})
        request.state.experiences.add([unkeepable])
        request.state.experiences.show("x")
        return PlainTextResponse("fine")

    site = Site(handler, events={"outbox": f"sqlite:///{tmp_path}/outbox.db"})

    response = await site.get(customer="alice")

    assert response.text == "fine"
    assert "record_failed error=" in caplog.text


async def test_the_page_has_one_budget_for_all_it_fetches(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        strip = await request.state.experiences.fetch("promo-strip")
        return JSONResponse([strip.reason, request.state.experiences[KEY].reason])

    sandbox.fault(path="fetch", latency=5.0, times=9)

    response = await Site(handler, fetch={"timeout": 0.3}).get(customer="alice")

    assert response.json() == ["timeout", "timeout"]
    assert sandbox.calls["fetch"] == 1


async def test_a_route_may_have_a_budget_of_its_own(sandbox: Sandbox) -> None:
    routes = [{"path": "/", "experiences": [KEY], "timeout": 5}]
    sandbox.fault(path="fetch", latency=0.1)

    response = await Site(fetch={"timeout": 0.02}, routes=routes).get(customer="alice")

    assert "Welcome" not in response.text


# --- as few calls as can be ------------------------------------------------


async def test_fifty_first_visits_at_once_are_one_call(sandbox: Sandbox) -> None:
    site = Site()
    sandbox.fault(path="fetch", latency=0.05)

    pages = await asyncio.gather(*(site.get(customer="alice") for _ in range(50)))

    assert len({page.text for page in pages}) == 1
    assert "Welcome" not in pages[0].text
    assert sandbox.calls["fetch"] == 1


async def test_overlapping_keys_wait_for_each_other(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        return JSONResponse([bool(found[key]) for key in (KEY, "promo-strip")])

    routes = [
        {"path": "/{rest:path}", "experiences": [KEY]},
        {"path": "/both", "experiences": ["promo-strip"]},
    ]
    site = Site(handler, path="/{page}", routes=routes)
    sandbox.fault(path="fetch", latency=0.05)

    one, both = await asyncio.gather(
        site.get("/one", customer="alice"), site.get("/both", customer="alice")
    )

    assert one.json() == [True, False]
    assert both.json() == [True, True]
    assert sandbox.calls["fetch"] == 2


async def test_a_cancelled_page_leaves_the_call_to_the_others(
    sandbox: Sandbox,
) -> None:
    site = Site()
    sandbox.fault(path="fetch", latency=0.1)

    first = asyncio.create_task(site.get(customer="alice"))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(site.get(customer="alice"))
    await asyncio.sleep(0.03)
    first.cancel()
    page = await second

    assert "Welcome" not in page.text
    assert sandbox.calls["fetch"] == 1


async def test_visitors_do_not_share_their_calls(sandbox: Sandbox) -> None:
    site = Site()
    sandbox.fault(path="fetch", latency=0.02, times=2)

    alice, bob = await asyncio.gather(
        site.get(customer="alice"), site.get(customer="bob")
    )

    assert alice.text != bob.text
    assert sandbox.calls["fetch"] == 2


async def test_an_expired_answer_is_served_at_once_and_refreshed_once(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse(request.state.experiences[KEY].source)

    watch = Clock()
    site = Site(handler, stopwatch=watch, cache={"ttl": 1, "stale": 60})
    await site.get(customer="alice")
    watch.now += 2
    sandbox.fault(path="fetch", latency=0.2)

    expired = await asyncio.gather(*(site.get(customer="alice") for _ in range(20)))
    while (await site.get(customer="alice")).text != "cache":
        await asyncio.sleep(0.01)

    assert {page.text for page in expired} == {"stale"}
    assert sandbox.calls["fetch"] == 2


@pytest.mark.parametrize(
    ("status", "reasons", "calls"),
    [
        (503, ["server_error"] * 5 + ["breaker_open"] * 15, 5),
        (401, ["unauthorized"] * 20, 1),
        (429, ["rate_limited"] * 20, 1),
    ],
)
async def test_while_the_api_fails_most_pages_do_not_even_ask(
    sandbox: Sandbox, status: int, reasons: list[str], calls: int
) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse(str(request.state.experiences[KEY].reason))

    site = Site(handler, fetch={"tries": 1})
    far_from_the_next_minute(sandbox)
    sandbox.fault(path="fetch", status=status, times=None)

    found = [(await site.get(customer=f"c{number}")).text for number in range(20)]

    assert found == reasons
    assert sandbox.calls["fetch"] == calls


# --- lifespan --------------------------------------------------------------


async def test_the_lifespan_of_an_app_without_one_is_spoken_for_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("no lifespan here")

    assert await lifespan(MoEngageMiddleware(app, config=settings())) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_shutdown_delivers_what_waits(sandbox: Sandbox) -> None:
    site = Site(identity={"customer_id": {"value": "alice"}})

    async def visit() -> None:
        await site.get()

    sent = await lifespan(site.app, between=visit)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(sandbox.events) == 1


async def test_an_app_that_fails_to_start_says_so_itself() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    assert await lifespan(MoEngageMiddleware(app, config=settings())) == [
        "lifespan.startup.failed"
    ]


# The second looks as if the app had no lifespan, but it has taken a message.
@pytest.mark.parametrize("error", [RuntimeError("mine"), AssertionError("mine")])
async def test_an_app_that_raises_at_its_start_is_not_silenced(
    error: Exception,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise error

    with pytest.raises(type(error), match="mine"):
        await lifespan(MoEngageMiddleware(app, config=settings()))


# --- an ASGI server by hand ------------------------------------------------


def http_scope(path: str, *, root_path: str = "") -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": root_path,
        "headers": [],
        "query_string": b"",
        "client": ("127.0.0.1", 5000),
    }


async def _empty_body() -> Message:
    return {"type": "http.request"}


async def _disconnect() -> Message:
    return {"type": "http.disconnect"}


async def _never() -> Message:
    raise AssertionError


async def _ignore(message: Message) -> None:
    raise AssertionError


async def ask(
    app: Any, path: str, *, root_path: str = "", receive: Receive = _empty_body
) -> tuple[int, bytes, Experiences | None]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    scope = http_scope(path, root_path=root_path)
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in messages)
    return messages[0]["status"], body, scope.get("state", {}).get("experiences")


async def lifespan(app: Any, between: Any = None) -> list[str]:
    """Start and stop an app as a server does; return its messages."""
    sent_types: list[str] = []
    phases = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        phase = next(phases)
        if phase == "lifespan.shutdown" and between is not None:
            await between()
        return {"type": phase}

    async def send(message: Message) -> None:
        sent_types.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)
    return sent_types
