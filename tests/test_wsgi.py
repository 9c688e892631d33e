"""The WSGI door, by the letter of PEP 3333 and on plain apps."""

from __future__ import annotations

import asyncio
import contextvars
import io
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults
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
        config = settings(**{"fetch": {"timeout": 5}, **sections})
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


def close(body: object) -> None:
    ending = getattr(body, "close", None)
    if ending is not None:
        ending()


def test_two_customers_see_two_variations(sandbox: Sandbox) -> None:
    server = Server(rendered)

    alice, bob = (server.request(customer=who) for who in ("alice", "bob"))

    assert alice != bob
    assert b"Welcome" not in alice + bob
    assert server.headers["cache-control"] == "private"
    assert "Cookie" in server.headers["vary"]


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


def test_a_body_that_is_closed_before_its_end_counts_nothing(
    sandbox: Sandbox,
) -> None:
    server = Server(replying([b"one", b"two"]))

    body = iter(server.begin())
    next(body)
    close(body)

    assert server.shown == 0


@pytest.mark.parametrize(
    ("method", "status", "count"),
    [("GET", "200 OK", 1), ("GET", "404 Not Found", 0), ("HEAD", "200 OK", 0)],
)
def test_only_a_good_response_counts(
    sandbox: Sandbox, method: str, status: str, count: int
) -> None:
    server = Server(replying([] if method == "HEAD" else [b"body"], status))

    server.request(REQUEST_METHOD=method)

    assert server.shown == count


def test_the_apps_own_close_is_called_once_and_in_its_context(
    sandbox: Sandbox,
) -> None:
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield current_experiences()[KEY].source.encode()

        def close(self) -> None:
            closed.append(current_experiences()[KEY].source)

    server = Server(replying(Body()))

    assert server.request() == b"api"
    assert closed == ["api"]
    assert current_experiences()[KEY].reason == "no_request"


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


def test_a_file_goes_back_to_the_server_as_it_is(sandbox: Sandbox) -> None:
    files: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("200 OK", TEXT)
        files.append(environ["wsgi.file_wrapper"](io.BytesIO(b"a file")))
        return files[0]

    server = Server(app)
    environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(environ)

    body = server.app(environ, lambda *_: lambda _: None)

    assert body is files[0]


def test_write_reaches_the_server(sandbox: Sandbox) -> None:
    written: list[bytes] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"early")
        return [b"late"]

    server = Server(app)
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)

    body = server.app(environ, lambda *_: written.append)

    assert [*body] == [b"late"]
    assert written == [b"early"]


def test_an_error_after_the_start_replaces_it(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["moe_middleware.experiences"].show(KEY)
        start_response("200 OK", TEXT)
        try:
            raise RuntimeError("half way")
        except RuntimeError:
            import sys

            start_response("500 Internal Server Error", TEXT, sys.exc_info())
        return [b"sorry"]

    server = Server(app)

    assert server.request() == b"sorry"
    assert server.status.startswith("500")
    assert server.shown == 0


def test_an_app_that_raises_is_heard(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Server(app).request()


def test_nothing_leaks_from_one_request_into_the_next(sandbox: Sandbox) -> None:
    mine = contextvars.ContextVar("mine", default=0)
    seen: list[int] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(mine.get())
        mine.set(mine.get() + 1)
        start_response("200 OK", TEXT)
        return [b""]

    server = Server(app)
    for _ in range(3):
        server.request()

    assert seen == [0, 0, 0]


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


def test_sync_fetches_are_there(sandbox: Sandbox) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", TEXT)
        found = environ["moe_middleware.experiences"].fetch_sync("promo-strip")
        return [found.source.encode()]

    assert Server(app, routes=[]).request() == b"api"


def test_installed_twice_explains_itself(sandbox: Sandbox) -> None:
    twice = Server(MoEngageWSGIMiddleware(rendered, config=settings()))

    with pytest.raises(DuplicateMiddlewareError, match="installed twice"):
        twice.request()
