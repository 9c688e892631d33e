"""The tag in every framework's own templates, asked by its own test client."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from jinja2 import DictLoader, Environment, Template

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware, Settings
from moe_middleware.outbox import MemoryOutbox
from moe_middleware.personalizer.runtime import runtime_for
from moe_middleware.sandbox import Sandbox

from ..sites import settings

EXTENSION = "moe_middleware.jinja.MoEngageExtension"
LINES = "".join(f"<p>line {number}</p>\n" for number in range(1_000))
LOADER = DictLoader(
    {
        "base.html": "<body>{% block main %}{% endblock %}</body>",
        "macros.html": """
            {%- macro headline(key) -%}
            {%- experience key as it %}<h1>{{ it.Title }}</h1>{% endexperience -%}
            {%- endmacro -%}
        """,
        "strip.html": """
            {%- experience "strip" as strip %}<i>{{ strip["Text line"] }}</i>
            {%- else %}<i>none</i>{% endexperience -%}
        """,
        "page.html": """
            {%- extends "base.html" %}{% from "macros.html" import headline %}
            {%- block main %}{{ headline("hero") }}
            {%- include "strip.html" without context %}{% endblock -%}
        """,
        "stream.html": f"""{LINES}{{% experience "hero" as hero -%}}
            {{{{ hero.Title }}}}{{%- endexperience %}}""",
    }
)
PAGE = "<body><h1>Tea &amp; Thyme</h1><i>Free delivery</i></body>"
STREAMED = f"{LINES}Tea &amp; Thyme"
STRIP = "<i>Free delivery</i>"


def environment(**options: Any) -> Environment:
    return Environment(
        **{"loader": LOADER, "extensions": [EXTENSION], "autoescape": True, **options}
    )


env = environment()
async_env = environment(enable_async=True)

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    cache_control: str | None


Get = Callable[[str], Answer]
"""Asks for ``/page``, ``/stream`` or ``/thread``, a thread of the app's own."""


def elsewhere(template: Template, **context: Any) -> str:
    """Return what a template renders in a thread that knows nothing of the request."""
    rendered: list[str] = []
    thread = threading.Thread(
        target=lambda: rendered.append(template.render(**context))
    )
    thread.start()
    thread.join()
    return rendered[0]


def answer(response: Any) -> Answer:
    """Return what clients in the way of httpx got."""
    headers = response.headers
    return Answer(response.status_code, response.text, headers.get("cache-control"))


def starlette(config: Settings, _: ExitStack) -> Get:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.templating import Jinja2Templates
    from starlette.testclient import TestClient

    templates = Jinja2Templates(env=env)

    async def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "page.html")

    async def stream(request: Request) -> Response:
        return StreamingResponse(async_env.get_template("stream.html").generate_async())

    async def thread(request: Request) -> Response:
        return HTMLResponse(elsewhere(env.get_template("strip.html"), request=request))

    app = Starlette(
        routes=[Route(f"/{one.__name__}", one) for one in (page, stream, thread)],
        middleware=[Middleware(MoEngageMiddleware, config=config)],
    )
    client = TestClient(app)
    return lambda path: answer(client.get(path))


def fastapi(config: Settings, _: ExitStack) -> Get:
    """Sync handlers, which run in threads."""
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, StreamingResponse
    from fastapi.templating import Jinja2Templates
    from fastapi.testclient import TestClient

    app = FastAPI()
    app.add_middleware(MoEngageMiddleware, config=config)
    templates = Jinja2Templates(env=env)

    def page(request: Any) -> Any:
        return templates.TemplateResponse(request, "page.html")

    def stream() -> Any:
        return StreamingResponse(env.get_template("stream.html").generate())

    def thread(request: Any) -> Any:
        return HTMLResponse(elsewhere(env.get_template("strip.html"), request=request))

    for one in (page, stream, thread):
        one.__annotations__ = {"request": Request} if one is not stream else {}
        app.get(f"/{one.__name__}")(one)
    client = TestClient(app)
    return lambda path: answer(client.get(path))


def litestar(config: Settings, _: ExitStack) -> Get:
    from litestar import Litestar, MediaType, Request, get
    from litestar.contrib.jinja import JinjaTemplateEngine
    from litestar.middleware import DefineMiddleware
    from litestar.response import Stream
    from litestar.response import Template as Page
    from litestar.template.config import TemplateConfig
    from litestar.testing import TestClient

    async def page() -> Any:
        return Page("page.html")

    async def stream() -> Any:
        pieces = env.get_template("stream.html").generate()
        return Stream(pieces, media_type=MediaType.HTML)

    async def thread(request: Any) -> str:
        return elsewhere(env.get_template("strip.html"), request=request)

    ours: Any = MoEngageMiddleware
    page.__annotations__["return"] = Page
    stream.__annotations__["return"] = Stream
    thread.__annotations__["request"] = Request[Any, Any, Any]
    app = Litestar(
        [
            get("/page")(page),
            get("/stream")(stream),
            get("/thread", media_type=MediaType.HTML)(thread),
        ],
        middleware=[DefineMiddleware(ours, config=config)],
        template_config=TemplateConfig(
            instance=JinjaTemplateEngine.from_environment(env)
        ),
    )
    client = TestClient(app)
    return lambda path: answer(client.get(path))


def quart(config: Settings, _: ExitStack) -> Get:
    from quart import Quart, render_template, request, stream_template

    app = Quart(__name__)
    app.jinja_env.add_extension(EXTENSION)
    app.jinja_env.loader = LOADER

    @app.get("/page")
    async def page() -> str:
        return await render_template("page.html")

    @app.get("/stream")
    async def stream() -> Any:
        return await stream_template("stream.html")

    @app.get("/thread")
    async def thread() -> str:
        found = request._get_current_object()  # type: ignore[attr-defined]
        return elsewhere(env.get_template("strip.html"), request=found)

    app.asgi_app = MoEngageMiddleware(app.asgi_app, config)  # type: ignore

    async def ask(path: str) -> Answer:
        response = await app.test_client().get(path)
        text = await response.get_data(as_text=True)
        return Answer(response.status_code, text, response.headers.get("cache-control"))

    return lambda path: asyncio.run(ask(path))


def sanic(config: Settings, _: ExitStack) -> Get:
    """Sanic has no templates of its own without sanic-ext, and no test client."""
    from sanic import Sanic
    from sanic import response as respond

    from .asgi_server import AsgiServer

    app: Any = Sanic(f"templates{next(_numbers)}", configure_logging=False)
    app.config.TOUCHUP = False

    async def page(request: Any) -> Any:
        template = async_env.get_template("page.html")
        return respond.html(await template.render_async(request=request))

    async def stream(request: Any) -> None:
        response = await request.respond(content_type="text/html")
        async for piece in async_env.get_template("stream.html").generate_async():
            await response.send(piece)
        await response.eof()

    async def thread(request: Any) -> Any:
        strip = env.get_template("strip.html")
        return respond.html(elsewhere(strip, request=request))

    for one in (page, stream, thread):
        app.get(f"/{one.__name__}")(one)

    async def ask(path: str) -> Answer:
        async with AsgiServer(MoEngageMiddleware(app, config)) as server:
            said = await server.request("GET", path)
            return Answer(said.status, said.text, said.headers.get("cache-control"))

    return lambda path: asyncio.run(ask(path))


def flask(config: Settings, _: ExitStack) -> Get:
    from flask import Flask, render_template, request, stream_template

    app = Flask(__name__)
    app.jinja_env.add_extension(EXTENSION)
    app.jinja_env.loader = LOADER

    @app.get("/page")
    def page() -> str:
        return render_template("page.html")

    @app.get("/stream")
    def stream() -> Any:
        return stream_template("stream.html")

    @app.get("/thread")
    def thread() -> str:
        found = request._get_current_object()  # type: ignore[attr-defined]
        return elsewhere(env.get_template("strip.html"), request=found)

    app.wsgi_app = MoEngageWSGIMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, config
    )

    client: Any = app.test_client()

    def ask(path: str) -> Answer:
        with client.get(path) as said:
            return Answer(said.status_code, said.text, said.headers["cache-control"])

    return ask


def bottle(config: Settings, stack: ExitStack) -> Get:
    import bottle as framework  # type: ignore[import-untyped]
    from werkzeug.test import Client

    app = framework.Bottle()
    folder = Path(stack.enter_context(TemporaryDirectory()))
    for name, text in LOADER.mapping.items():
        (folder / name).write_text(text)

    def page() -> Any:
        return framework.jinja2_template(
            "page.html",
            template_lookup=[str(folder)],
            template_settings={"extensions": [EXTENSION], "autoescape": True},
        )

    def stream() -> Iterator[str]:
        yield from env.get_template("stream.html").generate()

    def thread() -> str:
        found = framework.request.copy()
        return elsewhere(env.get_template("strip.html"), request=found)

    for one in (page, stream, thread):
        app.get(f"/{one.__name__}")(one)
    client: Any = Client(MoEngageWSGIMiddleware(app, config))

    def ask(path: str) -> Answer:
        with client.get(path) as said:
            return Answer(said.status_code, said.text, said.headers["cache-control"])

    return ask


def django(config: Settings, stack: ExitStack) -> Get:
    """Its Jinja2 backend, behind our middleware for Django."""
    return _django(stack, MOENGAGE=config, MIDDLEWARE=[f"{_OURS}.MoEngageMiddleware"])


def django_wrapped(config: Settings, stack: ExitStack) -> Get:
    """Its Jinja2 backend, and us around Django's WSGI app."""
    from werkzeug.test import Client

    _django(stack, MIDDLEWARE=[])
    from django.core.wsgi import get_wsgi_application

    client: Any = Client(MoEngageWSGIMiddleware(get_wsgi_application(), config))

    def ask(path: str) -> Answer:
        with client.get(path) as said:
            return Answer(said.status_code, said.text, said.headers["cache-control"])

    return ask


_OURS = "moe_middleware.django"


def _django(stack: ExitStack, **project: Any) -> Get:
    from ..django import project as configured

    assert configured.MIDDLEWARE
    from django.http import HttpResponse, StreamingHttpResponse
    from django.shortcuts import render
    from django.template import engines
    from django.test import Client
    from django.test.utils import override_settings
    from django.urls import path

    backend = {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "OPTIONS": {"loader": LOADER, "extensions": [EXTENSION]},
    }

    def page(request: Any) -> Any:
        return render(request, "page.html")

    def stream(request: Any) -> Any:
        found: Any = engines["jinja2"].get_template("stream.html")
        return StreamingHttpResponse(found.template.generate(request=request))

    def thread(request: Any) -> Any:
        found: Any = engines["jinja2"].get_template("strip.html")
        return HttpResponse(elsewhere(found.template, request=request))

    urls = tuple(path(one.__name__, one) for one in (page, stream, thread))
    stack.enter_context(
        override_settings(TEMPLATES=[backend], ROOT_URLCONF=urls, **project)
    )

    def ask(path: str) -> Answer:
        said = Client().get(path)
        body = said.getvalue()
        said.close()
        return Answer(said.status_code, body.decode(), said.get("cache-control"))

    return ask


FRAMEWORKS = [
    *(starlette, fastapi, litestar, quart, sanic, flask, bottle),
    *(django, django_wrapped),
]


class Shop:
    """A framework's app behind us, and what it counted."""

    def __init__(self, config: Settings, get: Get) -> None:
        self.get = get
        self._runtime = runtime_for(config)

    @property
    def shown(self) -> list[str]:
        """The keys that counted as shown."""
        assert isinstance(self._runtime.outbox, MemoryOutbox)
        events = self._runtime.outbox.events
        return [str(one.experience_context["experience"]) for one in events]


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.__name__)
def shop(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Shop]:
    sandbox.define("hero", {"Title": "Tea & Thyme"}, name="hero")
    sandbox.define("strip", {"Text line": "Free delivery"}, name="strip")
    config = settings(
        routes=[{"path": "/{rest:path}", "experiences": ["hero", "strip"]}],
        events={"outbox": "memory:", "relay": "off"},
    )
    with ExitStack() as stack:
        yield Shop(config, request.param(config, stack))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_page_of_blocks_macros_and_includes(shop: Shop) -> None:
    said = shop.get("/page")

    assert (said.status, said.text) == (200, PAGE)
    assert said.cache_control == "private, max-age=0"
    assert sorted(shop.shown) == ["hero", "strip"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tag_rendered_while_the_body_goes_out_counts(shop: Shop) -> None:
    said = shop.get("/stream")

    assert (said.status, said.text) == (200, STREAMED)
    assert said.cache_control == "private, max-age=0"
    assert shop.shown == ["hero"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_thread_of_the_apps_own_renders_with_the_request(shop: Shop) -> None:
    said = shop.get("/thread")

    assert (said.status, said.text) == (200, STRIP)
    assert shop.shown == ["strip"]
