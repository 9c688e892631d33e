"""One personalised site behind each of our doors, asked as a server would ask it."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from moe_middleware import (
    Event,
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    current_experiences,
)
from moe_middleware.outbox import MemoryOutbox
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.personalizer.runtime import Runtime

from ..django.project import OURS
from ..django.sites import Site as DjangoSite
from ..sites import Clock, settings

KEY = "homepage-banner"
OTHER_KEY = "promo-strip"
SECRET = "a secret key of the attacks"
HOST = "shop.example"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
PAGE = """
{%- experience "homepage-banner" as banner -%}
<h1>{{ banner.Title }}</h1>
<a href="{{ banner.click_url("/shop", "Link") }}">go</a>
<b {{ banner.attrs("Button") }}></b>
{%- endexperience -%}
"""
SECTIONS: dict[str, Any] = {
    "routes": [{"path": "/{rest:path}", "experiences": [KEY, OTHER_KEY]}],
    "events": {"outbox": "memory:", "relay": "off"},
    "secret_key": SECRET,
}

Headers = Sequence[tuple[str, str]]
Render = Callable[[], tuple[str, Headers]]
"""Returns the text of every page, and its own headers."""


def page_of(template: str = PAGE, headers: Headers = (), **names: Any) -> Render:
    """Return what renders a template for the request being handled."""
    env = Environment(
        loader=DictLoader({"page": template}),
        extensions=["moe_middleware.jinja.MoEngageExtension"],
        autoescape=True,
    )

    def render() -> tuple[str, Headers]:
        experiences = current_experiences()
        return env.get_template("page").render(found=experiences, **names), headers

    return render


@dataclass
class Answer:
    """A response, as it left the door.

    Attributes:
        headers: Names in lower case.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        return [value for one, value in self.headers if one == name]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


@dataclass
class Body:
    """A request's body, which notes how much of it was wanted.

    Attributes:
        length: The Content-Length; None is a chunked body.
    """

    content: bytes = b""
    length: str | None = None
    read: int = 0
    reads: list[int] = field(default_factory=list)


class Door(Protocol):
    """A site behind one door.

    Attributes:
        prefix: Where servers say that the site is mounted.
    """

    runtime: Runtime
    prefix: str

    def send(
        self, method: str, path: str, headers: Headers, body: Body, *, query: str
    ) -> Answer:
        """Hand over one request; its path is decoded, as servers do it."""
        ...


class Shop:
    """A site and the tools of someone who attacks it."""

    def __init__(self, door: Door, clock: Clock) -> None:
        self._door = door
        self.clock = clock

    @property
    def runtime(self) -> Runtime:
        return self._door.runtime

    @property
    def events(self) -> list[Event]:
        """What was counted."""
        assert isinstance(self.runtime.outbox, MemoryOutbox)
        return self.runtime.outbox.events

    @property
    def clicks(self) -> int:
        """How many different clicks were counted."""
        events = [one for one in self.events if one.action == "click"]
        return len({one.uuid for one in events})

    def mount(self, prefix: str) -> None:
        """Let the server say from now on that the site is mounted there."""
        self._door.prefix = prefix

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        customer: str | None = None,
        cookie: str | None = None,
        headers: Headers = (),
        body: Body | bytes = b"",
        query: str = "",
    ) -> Answer:
        if isinstance(body, bytes):
            body = Body(body, str(len(body)) if body else None)
        if customer is not None:
            cookie = f"customer_id={customer}"
        given = {name for name, _ in headers}
        sent = [
            (name, value)
            for name, value in (("host", HOST), ("user-agent", FIREFOX))
            if name not in given
        ]
        if cookie is not None:
            sent.append(("cookie", cookie))
        if body.length is not None:
            sent.append(("content-length", body.length))
        return self._door.send(method, path, [*sent, *headers], body, query=query)

    def tell(self, body: bytes | Body, *, origin: Headers = (), **given: Any) -> Answer:
        """Send a beacon, from a page of the site unless ``origin`` says otherwise."""
        headers = [*(origin or [("sec-fetch-site", "same-origin")])]
        headers += given.pop("headers", ())
        return self.ask("/_moe/e", method="POST", headers=headers, body=body, **given)

    def link(self, customer: str | None = "alice", **given: Any) -> str:
        """Return a click link of a page of this customer's."""
        page = self.ask(customer=customer, **given).text
        found = re.search(r'"(/_moe/c/[\w.-]+)"', page)
        assert found, page
        return found[1]

    def mark(self, customer: str | None = "alice", **given: Any) -> str:
        """Return the token of an element on a page of this customer's."""
        page = self.ask(customer=customer, **given).text
        found = re.search(r'data-moe="([\w.-]+)"', page)
        assert found, page
        return found[1]


# --- the doors ---------------------------------------------------------------


class _ASGI:
    def __init__(self, app: Any, runtime: Runtime, runner: asyncio.Runner) -> None:
        self._app = app
        self._runner = runner
        self.runtime = runtime
        self.prefix = ""

    def send(
        self, method: str, path: str, headers: Headers, body: Body, *, query: str
    ) -> Answer:
        return self._runner.run(self._send(method, path, headers, body, query))

    async def _send(
        self, method: str, path: str, headers: Headers, body: Body, query: str
    ) -> Answer:
        parts = iter(_parts(body))
        over = asyncio.Event()
        sent: list[Any] = []

        async def receive() -> Any:
            part = next(parts, None)
            if part is None:
                await over.wait()
                return {"type": "http.disconnect"}
            body.read += len(part)
            more = body.read < len(body.content)
            return {"type": "http.request", "body": part, "more_body": more}

        async def send(message: Any) -> None:
            sent.append(message)
            if not message.get("more_body", message["type"] == "http.response.start"):
                over.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": f"{self.prefix}{path}",
            "raw_path": f"{self.prefix}{path}".encode(),
            "root_path": self.prefix,
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in headers
            ],
            "client": ("203.0.113.9", 50_000),
            "server": (HOST, 80),
        }
        await self._app(scope, receive, send)
        start, *bodies = sent
        given = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in start["headers"]
        ]
        content = b"".join(message.get("body", b"") for message in bodies)
        return Answer(start["status"], given, content)


def _parts(body: Body, size: int = 65_536) -> Iterator[bytes]:
    yield body.content[:size]
    for at in range(size, len(body.content), size):
        yield body.content[at : at + size]


class _Input(io.RawIOBase):
    """What a server hands over as ``wsgi.input`` that stops at nothing by itself."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._stream = io.BytesIO(body.content)

    def read(self, size: int = -1) -> bytes:
        self._body.reads.append(size)
        part = self._stream.read(size)
        self._body.read += len(part)
        return part


class _WSGI:
    def __init__(self, app: Any, runtime: Runtime) -> None:
        self._app = app
        self.runtime = runtime
        self.prefix = ""

    def send(
        self, method: str, path: str, headers: Headers, body: Body, *, query: str
    ) -> Answer:
        started: list[Any] = []
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": self.prefix,
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": HOST,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "203.0.113.9",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": _Input(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            known = name.upper().replace("-", "_")
            plain = known in ("CONTENT_LENGTH", "CONTENT_TYPE")
            environ[known if plain else f"HTTP_{known}"] = value
        response: Iterable[bytes] = self._app(
            environ, lambda *args: started.append(args)
        )
        content = b"".join(response)
        close = getattr(response, "close", None)
        if close is not None:
            close()
        [(status, given, *_)] = started
        # Django has a space before its cookies.
        fields = [(name.lower(), value.strip(" ")) for name, value in given]
        return Answer(int(status[:3]), fields, content)


# --- one site, four doors -----------------------------------------------------


@contextmanager
def open_shop(door: str, render: Render, **sections: Any) -> Iterator[Shop]:
    """Open the site behind a door: ``asgi``, ``wsgi``, ``django``, ``django-async``."""
    given = {**SECTIONS, **sections}
    clock = Clock()
    opened: Door
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        if door in ("asgi", "wsgi"):
            config = settings(**given)
            runtime = runtime_for(config, clock=clock)
            if door == "asgi":
                wrapped = MoEngageMiddleware(_starlette(render), config)
                opened = _ASGI(wrapped, runtime, runner)
            else:
                app = MoEngageWSGIMiddleware(_wsgi(render), config)
                opened = _WSGI(app, runtime)
        else:
            identity = given.pop("identity", {"customer_id": {"cookie": "customer_id"}})
            project = DjangoSite(
                _django(render), middleware=[OURS], identity=identity, **given
            )
            runtime = stack.enter_context(project.running(clock=clock)).runtime
            if door == "django-async":
                opened = _ASGI(ASGIHandler(), runtime, runner)
            else:
                opened = _WSGI(WSGIHandler(), runtime)
        yield Shop(opened, clock)
        runner.run(runtime.stop())


DOORS = ("asgi", "wsgi", "django", "django-async")


def _starlette(render: Render) -> Starlette:
    async def handler(request: Request) -> Response:
        text, headers = render()
        response = HTMLResponse(text)
        for name, value in headers:
            response.headers.append(name, value)
        return response

    methods = ["GET", "POST", "OPTIONS", "PUT"]
    return Starlette(routes=[Route("/{rest:path}", handler, methods=methods)])


def _wsgi(render: Render) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        text, headers = render()
        body = text.encode()
        plain = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        start_response("200 OK", [*plain, *headers])
        return [body] if environ["REQUEST_METHOD"] != "HEAD" else []

    return app


def _django(render: Render) -> Any:
    def view(request: Any) -> Any:
        text, headers = render()
        response = HttpResponse(text)
        for name, value in headers:
            response[name] = value
        return response

    return view
