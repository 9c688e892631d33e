"""The middleware under Django's own test clients, sync and async."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.test.utils import override_settings
from django.views.decorators.cache import cache_page

from moe_middleware import (
    DuplicateMiddlewareError,
    MoEngageWSGIMiddleware,
    SettingsError,
    current_experiences,
)
from moe_middleware.django import MoEngageMiddleware
from moe_middleware.models.reasons import Reason
from moe_middleware.sandbox import Sandbox

from ..sites import settings
from .project import AUTHENTICATION, MIDDLEWARE, OURS, SESSIONS
from .sites import Site, body, source
from .urls import KEY, async_stream, page, stream

MakeSite = Callable[..., Site]
Visit = Callable[..., Any]
BY_COOKIE = {"customer_id": {"cookie": "customer_id"}}


def shows(response: Any) -> Callable[[Any], Any]:
    """Return a view that shows the banner and answers with ``response()``."""

    def view(request: Any) -> Any:
        request.experiences.show(KEY)
        return response()

    return view


# --- what a page gets --------------------------------------------------------


@pytest.mark.parametrize("view", [stream, async_stream])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_a_streamed_body_is_made_within_its_request(
    site: MakeSite, mode: str, view: Any
) -> None:
    shop = site(view)

    async def read() -> str:
        response = await shop.aget()
        return "".join([part.decode() async for part in response])

    text = body(shop.get()) if mode == "sync" else async_to_sync(read)()

    assert "Welcome" not in text
    assert current_experiences()[KEY].reason == "no_request"


@pytest.mark.parametrize("view", [page, stream, async_stream])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_a_page_ends_with_the_overlay_however_it_is_sent(
    site: MakeSite, mode: str, view: Any
) -> None:
    shop = site(view, development={"overlay": True})

    async def read() -> bytes:
        response = await shop.aget()
        if not response.streaming:
            return bytes(response.content)
        return b"".join([part async for part in response])

    text = body(shop.get()) if mode == "sync" else async_to_sync(read)().decode()

    assert text.endswith("defer></script>")
    assert text.count("<moe-overlay") == 1


def test_a_file_gets_no_overlay(site: MakeSite, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>a file")

    def view(request: Any) -> Any:
        request.experiences.show(KEY)
        return FileResponse((tmp_path / "page.html").open("rb"))

    assert body(site(view, development={"overlay": True}).get()) == "<p>a file"


def test_a_page_that_no_route_names_is_as_it_was(site: MakeSite, get: Visit) -> None:
    bare = site(lambda _: HttpResponse("hello"), middleware=MIDDLEWARE[:-1], routes=[])
    plain = get(bare)
    shop = site(lambda _: HttpResponse("hello"), routes=[])

    answered = get(shop)

    assert answered.content == plain.content
    assert dict(answered.items()) == dict(plain.items())
    assert not answered.cookies


def test_a_mapped_page_that_shows_nothing_stays_public(
    site: MakeSite, get: Visit
) -> None:
    shop = site(lambda _: HttpResponse("hello"), identity={"anonymous": "off"})

    assert "Cache-Control" not in get(shop)


def test_fetches_in_views(site: MakeSite, get: Visit) -> None:
    def sync_view(request: Any) -> Any:
        return HttpResponse(request.experiences.fetch_sync("promo-strip").source)

    async def async_view(request: Any) -> Any:
        return HttpResponse((await request.experiences.fetch("promo-strip")).source)

    shop = site(sync_view, urls={"async": async_view}, routes=[])
    shop.sign_in("alice")

    assert [get(shop, one).content for one in ("/", "/async")] == [b"api", b"cache"]


def test_answers_that_are_on_their_way_are_waited_for(
    site: MakeSite, get: Visit, sandbox: Sandbox
) -> None:
    async def view(request: Any) -> Any:
        await request.experiences.ready()
        return source(request)

    shop = site(
        page,
        urls={"ready": view},
        routes=[{"path": "/{all:path}", "experiences": [KEY]}],
        fetch={"prefetch": "concurrent", "timeout": 30},
    )
    for path, part in (("/", b"<h1>"), ("/ready", b"api")):
        sandbox.fault(path="fetch", latency=0.05, times=1)
        for client in (shop.client, shop.async_client):
            client.cookies.clear()
        answered = get(shop, path)
        assert part in answered.content
        assert b"Welcome" not in answered.content


def test_nothing_leaks_into_the_next_request(site: MakeSite, get: Visit) -> None:
    seen = []

    def view(request: Any) -> Any:
        seen.append(current_experiences() is request.experiences)
        return HttpResponse()

    shop = site(view)
    for _ in range(2):
        get(shop)

    assert seen == [True, True]
    assert current_experiences()[KEY].reason == "no_request"


def test_a_request_leaves_no_mark_and_what_is_kept_of_it_works(site: MakeSite) -> None:
    kept = site(source).get().wsgi_request

    assert "moe_middleware" not in kept.META
    assert kept.experiences["no-such-key"].reason is Reason.NOT_REQUESTED
    assert kept.experiences[KEY].source == "api"
    assert kept.experiences.fetch_sync("promo-strip").source == "api"


# --- what is counted ---------------------------------------------------------


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("response", "count"),
    [
        (lambda: HttpResponse(status=204), 1),
        (lambda: HttpResponse(status=404), 0),
        (lambda: _raise(Http404()), 0),
        (lambda: _raise(RuntimeError("mine")), 0),
    ],
    ids=["204", "404", "Http404", "error"],
)
def test_only_a_good_response_counts(
    site: MakeSite, get: Visit, response: Any, count: int
) -> None:
    shop = site(shows(response))

    get(shop)

    assert shop.shown == count


def test_a_stream_counts_once_it_is_read_to_its_end_and_closed(site: MakeSite) -> None:
    shop = site(stream)

    response = shop.get()
    parts = iter(response)
    counted = [shop.shown]
    for _ in range(3):
        next(parts)
        counted.append(shop.shown)
    assert list(parts) == []
    response.close()

    assert [*counted, shop.shown] == [0, 0, 0, 0, 1]


def test_a_stream_that_is_closed_early_counts_nothing(site: MakeSite) -> None:
    shop = site(stream)

    response = shop.get()
    parts = iter(response)
    [next(parts), next(parts)]
    response.close()

    assert shop.shown == 0


async def test_an_async_stream_that_is_cut_off_counts_nothing(site: MakeSite) -> None:
    shop = site(async_stream)

    response = await shop.aget()
    parts = aiter(response)
    [await anext(parts), await anext(parts)]
    await parts.aclose()
    await asyncio.to_thread(response.close)

    assert shop.shown == 0


async def test_a_visitor_who_leaves_mid_stream_counts_nothing(site: MakeSite) -> None:
    left = asyncio.Event()
    cleaned = asyncio.Event()

    def view(request: Any) -> Any:
        request.experiences.show(KEY)

        async def parts() -> AsyncIterator[str]:
            try:
                yield "first"
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        return StreamingHttpResponse(parts())

    shop = site(view)
    messages = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        for message in messages:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body") == b"first":
            left.set()

    scope = AsyncRequestFactory()._base_scope(  # type: ignore[attr-defined]
        method="GET", path="/"
    )
    await ASGIHandler()(scope, receive, send)

    await cleaned.wait()
    assert shop.shown == 0


async def test_a_page_counts_after_it_was_sent_over_asgi(site: MakeSite) -> None:
    shop = site(page)
    counted: list[int] = []
    messages = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        for message in messages:
            return message
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        counted.append(shop.shown)

    scope = AsyncRequestFactory()._base_scope(  # type: ignore[attr-defined]
        method="GET", path="/"
    )
    await ASGIHandler()(scope, receive, send)

    assert [*counted, shop.shown] == [0, 0, 1]


def test_the_apps_own_close_is_called(site: MakeSite) -> None:
    closed = []

    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            yield b"part"

        def close(self) -> None:
            closed.append(True)

    response = site(lambda _: StreamingHttpResponse(Parts())).get()

    assert body(response) == "part"
    response.close()
    assert closed == [True]


def test_a_file_goes_to_the_server_as_it_is(site: MakeSite, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a file")
    files: list[Any] = []

    def view(request: Any) -> Any:
        request.experiences.show(KEY)
        files.append((tmp_path / "file.txt").open("rb"))
        return FileResponse(files[0])

    shop = site(view)
    environ = RequestFactory().get("/").environ
    environ["wsgi.file_wrapper"] = FileWrapper
    sent = WSGIHandler()(environ, lambda *_: bytearray().extend)

    assert isinstance(sent, FileWrapper)
    assert b"".join(sent) == b"a file"
    assert shop.shown == 0
    sent.close()
    assert shop.shown == 1
    assert files[0].closed


@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
def test_a_304_counts_and_has_no_body(
    site: MakeSite, get: Visit, outside: bool
) -> None:
    conditional = "django.middleware.http.ConditionalGetMiddleware"
    around = [conditional, *MIDDLEWARE] if outside else [*MIDDLEWARE, conditional]
    shop = site(page, middleware=around)
    etag = get(shop)["ETag"]

    again = get(shop, headers={"if-none-match": etag})

    assert (again.status_code, again.content) == (304, b"")
    assert shop.shown == 2


@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
def test_compressed_pages_count(site: MakeSite, get: Visit, outside: bool) -> None:
    gzip = "django.middleware.gzip.GZipMiddleware"
    around = [gzip, *MIDDLEWARE] if outside else [*MIDDLEWARE, gzip]

    def view(request: Any) -> Any:
        return HttpResponse(f"{request.experiences.show(KEY).Title}" * 500)

    shop = site(view, middleware=around)

    answered = get(shop, headers={"accept-encoding": "gzip"})

    assert answered["Content-Encoding"] == "gzip"
    assert {"Accept-Encoding", "Cookie"} <= {*answered["Vary"].split(", ")}
    assert shop.shown == 1


# --- Django's caches ---------------------------------------------------------


FETCH = "django.middleware.cache.FetchFromCacheMiddleware"
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"


def test_djangos_page_cache_keeps_no_page_that_lists_the_visitors_keys(
    site: MakeSite,
) -> None:
    made = []

    def view(request: Any) -> Any:
        made.append([*request.experiences])
        return HttpResponse("for one")

    shop = site(cache_page(60)(view))
    for _ in range(2):
        shop.get()

    assert made == [[KEY], [KEY]]


# --- settings ----------------------------------------------------------------

MAPPING = {
    "data_center": "sandbox",
    "routes": [{"path": "/", "experiences": [KEY]}],
    "fetch": {"timeout": 5},
    "events": {"outbox": "memory:", "relay": "off"},
}


def test_a_mapping_holds_the_settings_and_clients_share_them(site: MakeSite) -> None:
    shop = site(source, project={"MOENGAGE": MAPPING})
    other = site(source, project={"MOENGAGE": dict(MAPPING)})

    assert shop.runtime is other.runtime
    assert shop.get().content == b"api"


def test_a_file_holds_the_settings(
    site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(
        "workspace: {data_center: sandbox}\n"
        "routes: [{path: /, experiences: [homepage-banner]}]\n"
        "events: {outbox: 'memory:', relay: 'off'}\n"
    )
    named = site(source, project={"MOENGAGE": file})
    assert named.get().content == b"api"

    monkeypatch.setenv("MOE_CONFIG", str(file))
    with override_settings(MOENGAGE=None):
        assert MoEngageMiddleware(lambda _: HttpResponse()).runtime is named.runtime


def test_all_mistakes_are_reported_when_django_starts() -> None:
    wrong = {**MAPPING, "routes": [{"path": "shop"}], "fetch": {"timeout": -1}}

    with override_settings(MOENGAGE=wrong), pytest.raises(SettingsError) as raised:
        MoEngageMiddleware(lambda _: HttpResponse())

    places = {problem.where for problem in raised.value.problems}
    assert {"routes.0.path", "routes.0.experiences", "fetch.timeout"} <= places


def test_a_setting_of_another_kind_says_what_to_write() -> None:
    with (
        override_settings(MOENGAGE=7),
        pytest.raises(
            ImproperlyConfigured, match="MOENGAGE is int: set it to the path"
        ),
    ):
        MoEngageMiddleware(lambda _: HttpResponse())


@pytest.mark.parametrize(
    ("identity", "around", "message"),
    [
        ({}, [SESSIONS, OURS, AUTHENTICATION], "no user yet"),
        ({"customer_id": {"session": "c"}}, [OURS, SESSIONS], "no session yet"),
    ],
    ids=["user", "session"],
)
def test_a_place_too_early_in_middleware_is_reported(
    identity: dict[str, Any], around: list[str], message: str
) -> None:
    config = settings(identity=identity)

    with (
        override_settings(MOENGAGE=config, MIDDLEWARE=around),
        pytest.raises(ImproperlyConfigured, match=message),
    ):
        MoEngageMiddleware(lambda _: HttpResponse())


def test_installed_twice_explains_itself(site: MakeSite) -> None:
    twice = site(page, middleware=[*MIDDLEWARE, OURS])
    twice.client.raise_request_exception = True

    with pytest.raises(DuplicateMiddlewareError, match="lists it twice"):
        twice.get()


def test_installed_in_wsgi_py_as_well_explains_itself(
    site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site(page)
    app = MoEngageWSGIMiddleware(WSGIHandler(), config=settings(routes=[]))
    statuses: list[str] = []
    answered = app(
        RequestFactory().get("/").environ,
        lambda status, *_: statuses.append(status),  # type: ignore[arg-type]
    )
    getattr(answered, "close", lambda: None)()

    assert statuses == ["500 Internal Server Error"]
    assert "DuplicateMiddlewareError" in caplog.text


def test_djangos_commands_find_nothing_to_do(
    database: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with override_settings(MOENGAGE=MAPPING):
        call_command("check")
    call_command("makemigrations", "moe_middleware", check=True, dry_run=True)

    assert "no issues" in capsys.readouterr().out


def test_the_debug_page_shows_no_secret(site: MakeSite) -> None:
    # The page shows this source, too.
    api_key = "-".join(("very", "secret"))
    shop = site(
        lambda _: _raise(RuntimeError("mine")),
        project={"MOENGAGE": {**MAPPING, "api_key": api_key}, "DEBUG": True},
    )

    answered = shop.get()

    assert answered.status_code == 500
    assert b"MOENGAGE" in answered.content
    assert api_key.encode() not in answered.content


# --- alone -------------------------------------------------------------------


def test_it_works_without_a_handler_of_django(site: MakeSite) -> None:
    shop = site()
    middleware = MoEngageMiddleware(source)

    response: Any = middleware(RequestFactory().get("/"))

    assert response.content == b"api"
    response.close()
    assert shop.shown == 0


def test_an_error_passes_through(site: MakeSite) -> None:
    site()
    middleware = MoEngageMiddleware(lambda _: _raise(LookupError("mine")))
    request = RequestFactory().get("/")

    with pytest.raises(LookupError, match="mine"):
        middleware(request)

    assert "moe_middleware" not in request.META
    assert current_experiences()[KEY].reason == "no_request"


async def test_a_cancelled_view_leaves_nothing_behind(site: MakeSite) -> None:
    shop = site()
    begun = asyncio.Event()

    async def view(request: Any) -> Any:
        request.experiences.show(KEY)
        begun.set()
        await asyncio.Event().wait()

    middleware: Any = MoEngageMiddleware(view)
    task = asyncio.ensure_future(middleware(AsyncRequestFactory().get("/")))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert shop.shown == 0


def test_what_a_request_tells_can_be_changed(site: MakeSite) -> None:
    class Mine(MoEngageMiddleware):
        def visit_of(self, request: Any) -> Any:
            visit = super().visit_of(request)
            visit.peer = "203.0.113.9"
            return visit

    site()
    seen = []

    def view(request: Any) -> Any:
        seen.append(request.experiences[KEY].source)

    middleware = Mine(view)

    with pytest.raises(AttributeError):  # a view must return a response
        middleware(RequestFactory().get("/"))

    assert seen == ["api"]


def test_context_variables_are_the_apps_own(site: MakeSite) -> None:
    mine = contextvars.ContextVar("mine", default="unset")
    seen = []

    def view(_: Any) -> Any:
        mine.set("set")

        def parts() -> Iterator[str]:
            seen.append(mine.get())
            yield "part"

        return StreamingHttpResponse(parts())

    def run() -> None:
        body(site(view).get())

    contextvars.copy_context().run(run)

    assert seen == ["set"]


async def test_an_async_stream_is_lazy(site: MakeSite) -> None:
    made: list[int] = []

    def view(_: Any) -> Any:
        async def parts() -> AsyncIterator[str]:
            for number in range(2):
                made.append(number)
                yield "."

        return StreamingHttpResponse(parts())

    response = await site(view).aget()
    before = [*made]
    parts = aiter(response)
    await anext(parts)

    assert (before, made) == ([], [0])
    await parts.aclose()
