"""The WSGI door, by the letter of PEP 3333 and on plain apps."""

from __future__ import annotations

import asyncio
import contextvars
import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from jinja2 import DictLoader, Environment

from moe_middleware import (
    DuplicateMiddlewareError,
    MoEngageWSGIMiddleware,
    current_experiences,
)
from moe_middleware.sandbox import Sandbox

from .sites import PAGE, settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = "homepage-banner"
TEXT = [("Content-Type", "text/plain")]

env = Environment(
    loader=DictLoader({"page": PAGE}),
    extensions=["moe_middleware.jinja.MoEngageExtension"],
    autoescape=True,
)


def rendered(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    body = env.get_template("page").render().encode()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


def replying(
    body: Iterable[bytes], status: str = "200 OK", show: bool = True
) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if show:
            environ["moe_middleware.experiences"].show(KEY)
        start_response(status, TEXT)
        return body

    return app


class Server:
    """A wrapped app, and a server that keeps to the letter."""

    def __init__(self, app: WSGIApplication, **sections: Any) -> None:
        # Events that are counted here are not delivered meanwhile.
        events = {"outbox": "memory:", "relay": "off"}
        config = settings(**{"events": events, **sections})
        self.app = MoEngageWSGIMiddleware(app, config=config)
        self.status = ""
        self.headers: dict[str, str] = {}

    def request(
        self, path: str = "/", *, customer: str | None = "alice", **environ: Any
    ) -> bytes:
        body = self.begin(path, customer=customer, **environ)
        try:
            return b"".join(body)
        finally:
            close(body)

    def begin(
        self, path: str = "/", *, customer: str | None = "alice", **environ: Any
    ) -> Iterable[bytes]:
        environ = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", **environ}
        setup_testing_defaults(environ)
        if customer is not None:
            environ["HTTP_COOKIE"] = f"customer_id={customer}"

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
        ) -> Callable[[bytes], object]:
            self.status, self.headers = status, {n.lower(): v for n, v in headers}
            return lambda _: None

        return validator(self.app)(environ, start_response)

    @property
    def shown(self) -> int:
        """How many impressions have been recorded."""
        return asyncio.run(self.app.runtime.outbox.count()).waiting


def request(**environ: Any) -> dict[str, Any]:
    """Return a request of alice's as a server without a validator hands it over."""
    setup_testing_defaults(environ)
    environ.setdefault("HTTP_COOKIE", "customer_id=alice")
    return environ


def close(body: object) -> None:
    ending = getattr(body, "close", None)
    if ending is not None:
        ending()


def test_what_is_cached_needs_no_other_thread(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["moe_middleware.experiences"][KEY].source.encode()]

    server = Server(app)

    assert [server.request() for _ in range(2)] == [b"api", b"cache"]
    assert sandbox.calls["fetch"] == 1


def test_an_impression_is_recorded_when_the_server_closes_the_response(
    sandbox: Sandbox,
) -> None:
    server = Server(replying([b"one", b"two"]))

    body = server.begin()
    parts = [*body]
    before = server.shown
    close(body)

    assert parts == [b"one", b"two"]
    assert (before, server.shown) == (0, 1)


def test_a_generator_stays_lazy_and_may_start_its_response_late(
    sandbox: Sandbox,
) -> None:
    made: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        made.append("started")
        start_response("200 OK", TEXT)
        environ["moe_middleware.experiences"].show(KEY)
        for part in (b"one", b"two"):
            made.append(part.decode())
            yield part

    server = Server(app)

    body = iter(server.begin())
    seen = [[*made]]
    for _ in range(2):
        next(body)
        seen.append([*made])
    assert list(body) == []
    close(body)

    assert seen == [[], ["started", "one"], ["started", "one", "two"]]
    assert server.shown == 1


def test_nothing_of_ours_leaks_and_the_apps_variables_are_as_without_us(
    sandbox: Sandbox,
) -> None:
    mine = contextvars.ContextVar("mine", default=0)
    seen: list[int] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(mine.get())
        mine.set(mine.get() + 1)
        start_response("200 OK", TEXT)
        return [b""]

    def visit_thrice() -> None:
        server = Server(app)
        for _ in range(3):
            server.request()
            assert current_experiences()[KEY].reason == "no_request"

    contextvars.copy_context().run(visit_thrice)

    # As Django keeps its connections to caches.
    assert seen == [0, 1, 2]


def test_the_budget_holds_on_a_thread_too(sandbox: Sandbox) -> None:
    sandbox.fault(path="fetch", latency=30)
    server = Server(rendered, fetch={"timeout": 0.05})

    started = time.monotonic()
    page = server.request()

    assert b"Welcome" in page
    assert time.monotonic() - started < 10


def test_a_tag_waits_for_what_is_on_its_way(sandbox: Sandbox) -> None:
    sandbox.fault(path="fetch", latency=0.05)
    server = Server(rendered, fetch={"prefetch": "concurrent", "timeout": 5})

    assert b"Welcome" not in server.request()


def test_a_path_beyond_ascii_and_a_mounted_app_match_their_routes(
    sandbox: Sandbox,
) -> None:
    routes = [{"path": "/tee/grün", "experiences": [KEY]}]
    server = Server(rendered, routes=routes)
    path = "/tee/grün".encode().decode("latin-1")

    assert b"Welcome" not in server.request(path, SCRIPT_NAME="/shop")


def test_a_second_close_counts_nothing_more(sandbox: Sandbox) -> None:
    server = Server(replying([b"one"]))
    body = server.app(request(), lambda *_: lambda _: None)

    assert [*body] == [b"one"]
    close(body)
    close(body)

    assert server.shown == 1


def test_of_a_304_a_server_may_take_no_body(sandbox: Sandbox) -> None:
    server = Server(replying([b""], "304 Not Modified"))

    close(server.app(request(), lambda *_: lambda _: None))

    assert server.shown == 1


def test_a_304_of_an_app_that_then_fails_counts_nothing(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["moe_middleware.experiences"].show(KEY)
        start_response("304 Not Modified", [])
        raise LookupError("mine")

    server = Server(app)

    with pytest.raises(LookupError, match="mine"):
        server.app(request(), lambda *_: lambda _: None)
    assert server.shown == 0


def test_a_file_that_the_server_wraps_by_a_function_goes_back_as_it_is(
    sandbox: Sandbox,
) -> None:
    file = io.BytesIO(b"a file")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](file, 8192)

    wrapped: list[object] = []

    def sendfile(given: object, block: int = 0) -> object:
        # uWSGI notes it, and gives it back.
        wrapped.append(given)
        return given

    body = Server(app).app(
        request(**{"wsgi.file_wrapper": sendfile}), lambda *_: lambda _: None
    )

    assert body is file
    assert wrapped == [file]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"REQUEST_METHOD": "get"}, id="method in lower case"),
        pytest.param({"REQUEST_METHOD": None}, id="no method"),
        pytest.param({"PATH_INFO": None, "SCRIPT_NAME": None}, id="no path"),
        pytest.param({"PATH_INFO": "", "SCRIPT_NAME": "/shop"}, id="mounted"),
        pytest.param({"QUERY_STRING": None, "REMOTE_ADDR": None}, id="bare minimum"),
        pytest.param({"HTTP_X_ODD": "\u20ac", "HTTP_\u20ac": "x"}, id="beyond latin"),
        pytest.param({"QUERY_STRING": "q=\u20ac"}, id="query beyond latin"),
    ],
)
def test_an_odd_request_is_personalized_like_any_other(
    sandbox: Sandbox, odd: dict[str, str | None]
) -> None:
    server = Server(
        replying([b"page"]),
        attributes={"q": {"query": "q"}, "odd": {"header": "X-Odd"}},
    )
    environ = {**request(), **odd}

    body = server.app(
        {name: value for name, value in environ.items() if value is not None},
        lambda *_: lambda _: None,
    )

    assert [*body] == [b"page"]
    close(body)
    assert server.shown == 1


def test_the_app_gets_an_environ_by_the_letter_too(sandbox: Sandbox) -> None:
    server = Server(validator(replying([b"page"])))

    assert server.request() == b"page"
    assert server.shown == 1


def test_what_is_shown_after_the_last_byte_does_not_count(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    class Body(list[bytes]):
        def close(self) -> None:
            current_experiences().show(KEY)

    server = Server(replying(Body([b"page"]), show=False))

    assert server.request() == b"page"
    assert server.shown == 0
    assert "shown_too_late key=homepage-banner" in caplog.text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:pkg_resources:UserWarning")
@pytest.mark.parametrize("cookies", ["id=acme,inc", "id=a; id=b"])
def test_pyramid_and_we_see_the_same_customer(sandbox: Sandbox, cookies: str) -> None:
    from pyramid.config import Configurator  # type: ignore[import-untyped]

    def view(request: Any) -> dict[str, Any]:
        seen = current_experiences().identity.customer_id
        return {"same": seen == request.cookies["id"]}

    config = Configurator()
    config.add_route("home", "/")
    config.add_view(view, route_name="home", renderer="json")
    server = Server(config.make_wsgi_app(), identity={"customer_id": {"cookie": "id"}})

    assert server.request(customer=None, HTTP_COOKIE=cookies) == b'{"same": true}'


def test_headers_that_no_server_can_send_are_the_servers_to_refuse(
    sandbox: Sandbox,
) -> None:
    odd: Any = [("X-Price", "5 \u20ac"), ("X-Number", 5), "no pair"]
    headers: list[Any] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["moe_middleware.experiences"].show(KEY)
        start_response("200 OK", [*odd, *TEXT])
        return []

    def start_response(*given: Any) -> Callable[[bytes], object]:
        headers.extend(given[1])
        return lambda _: None

    Server(app).app(request(), start_response)

    assert [one for one in headers if one in odd] == odd
    assert ("cache-control", "private, max-age=0") in headers


def test_a_status_without_a_number_is_the_servers_to_refuse(sandbox: Sandbox) -> None:
    server = Server(replying([], "fine"))

    body = server.app(request(), lambda *_: lambda _: None)
    assert [*body] == []
    close(body)

    assert server.shown == 0


def test_an_unmapped_pages_headers_are_the_apps_own_list(sandbox: Sandbox) -> None:
    started: list[object] = []

    def start_response(*given: Any) -> Callable[[bytes], object]:
        started.append(given[1])
        return lambda _: None

    Server(replying([], show=False), routes=[]).app(request(), start_response)

    assert started[0] is TEXT


def test_exc_info_may_be_named(sandbox: Sandbox) -> None:
    given_errors: list[Any] = []
    error = (LookupError, LookupError("mine"), None)

    def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
        start_response("500 Oh", TEXT, exc_info=error)
        return []

    def start_response(*given: Any) -> Callable[[bytes], object]:
        given_errors.append(given[2])
        return lambda _: None

    Server(app).app(request(), start_response)

    assert given_errors == [error]


def test_a_body_may_be_gone_through_twice_as_without_us(sandbox: Sandbox) -> None:
    body = Server(replying([b"one", b"two"])).app(request(), lambda *_: lambda _: None)

    assert [[*body], [*body]] == [[b"one", b"two"]] * 2


def test_a_request_that_is_over_may_be_handled_again(sandbox: Sandbox) -> None:
    """As by a middleware that tries once more what failed."""
    server = Server(replying([b"page"]))
    environ = request()

    for _ in range(2):
        body = server.app(environ, lambda *_: lambda _: None)
        assert [*body] == [b"page"]
        close(body)

    assert server.shown == 2


def test_fifty_threads_at_once_see_their_own(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        together.wait(60)
        # Another thread's request is under way between any two of these.
        for _ in range(5):
            yield str(current_experiences().identity.customer_id).encode() + b" "

    together = threading.Barrier(50)
    server = Server(app)

    def visit(number: int) -> set[bytes]:
        environ = request(HTTP_COOKIE=f"customer_id=customer-{number}")
        body = server.app(environ, lambda *_: lambda _: None)
        content = b"".join(body)
        close(body)
        return {*content.split()}

    with ThreadPoolExecutor(50) as threads:
        seen = [*threads.map(visit, range(50))]

    assert seen == [{f"customer-{number}".encode()} for number in range(50)]


def test_installed_twice_explains_itself(sandbox: Sandbox) -> None:
    twice = Server(MoEngageWSGIMiddleware(rendered, config=settings()))

    with pytest.raises(DuplicateMiddlewareError, match="installed twice"):
        twice.request()


def test_a_routes_own_budget_holds_after_a_cached_page_too(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", TEXT)
        found = environ["moe_middleware.experiences"]
        if environ["QUERY_STRING"]:
            return [str(found.fetch_sync("promo-strip").reason).encode()]
        return [found[KEY].source.encode()]

    routes = [{"path": "/", "experiences": [KEY], "timeout": 2}]
    server = Server(app, routes=routes, fetch={"timeout": 30})
    first, second = server.request(), server.request()
    sandbox.fault(path="fetch", latency=30, times=None)

    started = time.monotonic()
    reason = server.request(QUERY_STRING="more")

    assert (first, second, reason) == (b"api", b"cache", b"timeout")
    assert time.monotonic() - started < 20
