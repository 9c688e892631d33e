"""The same small shop in every ASGI framework, and how each is wrapped.

All have these paths: ``/tag`` renders the template, ``/handler`` and ``/thread`` ask
for the banner's title in an async and in a sync handler, ``/elsewhere`` in a thread of
the app's own with the request, ``/stream`` renders it while the body goes out,
``/late`` stops in the middle of its body, ``/file`` sends a file, ``/broken`` raises,
``/echo`` returns what it is sent, and ``/ws`` echoes over a websocket.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from moe_middleware import current_experiences

KEY = "homepage-banner"
EXTENSION = "moe_middleware.jinja.MoEngageExtension"
HTML = "text/html"
PIECE = "." * 20_000
DOWNLOAD = Path(tempfile.gettempdir()) / "moe-middleware-test-download.bin"
DOWNLOAD_BYTES = bytes(range(256)) * 400

Wrap = Callable[[ASGIApp], ASGIApp]
Handler = Callable[..., Any]

LOADER = DictLoader(
    {
        "base": "<body>{% block main %}{% endblock %}</body>",
        "macros": """
            {%- macro headline(key) -%}
            {%- experience key as it %}<h1>{{ it.Title }}</h1>
            {%- else %}<h1>Welcome</h1>{% endexperience -%}
            {%- endmacro -%}""",
        "title": """
            {%- experience "homepage-banner" as it %}{{ it.Title }}
            {%- else %}nobody{% endexperience -%}""",
        "page": """
            {%- extends "base" %}{% from "macros" import headline %}
            {%- block main %}{{ headline("homepage-banner") }}
            {%- include "title" without context %}{% endblock -%}""",
    }
)
"""Blocks, macros and includes: what the frameworks' own templates are made of."""


def environment(**options: Any) -> Environment:
    given = {"loader": LOADER, "extensions": [EXTENSION], "autoescape": True}
    return Environment(**{**given, **options})


env = environment()
async_env = environment(enable_async=True)


def title(found: Any = None) -> str:
    """Return the banner's title as the request's own experiences have it."""
    found = current_experiences() if found is None else found
    return str(found[KEY].get("Title", "nobody"))


def shown() -> str:
    return str(current_experiences().show(KEY).get("Title", "nobody"))


def elsewhere(request: Any) -> str:
    """Return what a thread that knows nothing of the request renders for it."""
    return in_thread(lambda: env.get_template("title").render(request=request))


def in_thread(function: Callable[[], str]) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


async def streamed() -> AsyncIterator[str]:
    yield PIECE
    await asyncio.sleep(0)
    async for piece in async_env.get_template("title").generate_async():
        yield piece
    yield PIECE


async def streamed_bytes() -> AsyncIterator[bytes]:
    async for piece in streamed():
        yield piece.encode()


async def late() -> AsyncIterator[bytes]:
    """Show the banner, and go on for longer than the visitor stays."""
    yield shown().encode()
    for _ in range(50):
        await asyncio.sleep(0)
        yield b"."


def download() -> Path:
    if not DOWNLOAD.exists():
        # Others may make it at the same time; the last one writes the same bytes.
        with tempfile.NamedTemporaryFile(dir=DOWNLOAD.parent, delete=False) as file:
            file.write(DOWNLOAD_BYTES)
        Path(file.name).rename(DOWNLOAD)
    return DOWNLOAD


PATHS = (
    *("/tag", "/handler", "/thread", "/elsewhere", "/stream", "/late", "/file"),
    "/broken",
)
"""The paths of all shops that are got, in the order of their handlers."""


def by_path(*handlers: Handler) -> Iterator[tuple[str, Handler]]:
    return zip(PATHS, handlers, strict=True)


# --- Starlette and FastAPI -------------------------------------------------

templates = Jinja2Templates(env=env)


async def tag(request: Request) -> Response:
    return templates.TemplateResponse(request, "page")


async def handler(request: Request) -> Response:
    return PlainTextResponse(title(getattr(request.state, "experiences", None)))


def thread(request: Request) -> Response:
    return PlainTextResponse(title())


async def other(request: Request) -> Response:
    return PlainTextResponse(elsewhere(request))


async def stream(request: Request) -> Response:
    return StreamingResponse(streamed(), media_type="text/plain")


async def late_page(request: Request) -> Response:
    return StreamingResponse(late(), media_type="text/plain")


async def file(request: Request) -> Response:
    shown()
    return FileResponse(download())


async def broken(request: Request) -> Response:
    shown()
    raise RuntimeError("broken page")


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text((await websocket.receive_text()).upper())
    await websocket.close()


STARLETTE = [*by_path(tag, handler, thread, other, stream, late_page, file, broken)]


def starlette_app() -> Starlette:
    return Starlette(
        routes=[
            *(Route(path, endpoint) for path, endpoint in STARLETTE),
            Route("/echo", echo, methods=["POST"]),
            WebSocketRoute("/ws", ws),
        ]
    )


def starlette(wrap: Wrap) -> ASGIApp:
    return wrap(starlette_app())


def starlette_mounted(wrap: Wrap) -> ASGIApp:
    """The same as a sub-app, with us around the outer one."""
    return wrap(Starlette(routes=[Mount("/shop", app=starlette_app())]))


def starlette_listed(wrap: Wrap) -> ASGIApp:
    """The same, with us in the app's own list of middleware."""
    app = starlette_app()
    app.add_middleware(wrap)
    return app


def fastapi(wrap: Wrap) -> ASGIApp:
    from fastapi import FastAPI

    app = FastAPI()
    for path, endpoint in STARLETTE:
        app.get(path)(endpoint)
    app.post("/echo")(echo)
    app.websocket("/ws")(ws)
    app.add_middleware(wrap)
    return app


# --- Quart -----------------------------------------------------------------


def quart(wrap: Wrap) -> ASGIApp:
    from quart import Quart, render_template, request, send_file, websocket
    from quart.helpers import stream_with_context

    app = Quart(__name__)
    # Or the header Expires is another every second.
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = None
    app.jinja_env.add_extension(EXTENSION)
    app.jinja_env.loader = LOADER

    @app.get("/tag")
    async def tag() -> Any:
        return await render_template("page")

    @app.get("/handler")
    async def handler() -> Any:
        return title(request.scope["state"].get("experiences"))

    @app.get("/thread")
    def thread() -> Any:
        return title()

    @app.get("/elsewhere")
    async def other() -> Any:
        return elsewhere(request._get_current_object())  # type: ignore[attr-defined]

    @app.get("/stream")
    async def stream() -> Any:
        return stream_with_context(streamed)(), {"content-type": "text/plain"}

    @app.get("/late")
    async def late_page() -> Any:
        return late(), {"content-type": "text/plain"}

    @app.get("/file")
    async def file() -> Any:
        shown()
        return await send_file(download())

    @app.get("/broken")
    async def broken() -> Any:
        shown()
        raise RuntimeError("broken page")

    @app.post("/echo")
    async def echo() -> Any:
        return await request.get_data()

    @app.websocket("/ws")
    async def ws() -> None:
        await websocket.send((await websocket.receive()).upper())

    app.asgi_app = wrap(app.asgi_app)  # type: ignore[method-assign, assignment, arg-type]
    return app  # type: ignore[return-value]


# --- Litestar --------------------------------------------------------------


def litestar_app(middleware: list[Any]) -> ASGIApp:
    from litestar import Litestar, MediaType, Request, get, post, websocket
    from litestar.connection import WebSocket
    from litestar.contrib.jinja import JinjaTemplateEngine
    from litestar.response import File, Stream, Template
    from litestar.template.config import TemplateConfig

    async def tag() -> Any:
        return Template("page")

    async def handler(request: Any) -> str:
        return title(request.scope["state"].get("experiences"))

    def thread() -> str:
        return title()

    async def other(request: Any) -> str:
        return elsewhere(request)

    async def stream() -> Any:
        return Stream(streamed(), media_type=MediaType.TEXT)

    async def late_page() -> Any:
        return Stream(late(), media_type=MediaType.TEXT)

    async def file() -> Any:
        shown()
        return File(download())

    async def broken() -> str:
        shown()
        raise RuntimeError("broken page")

    async def echo(request: Any) -> bytes:
        body: bytes = await request.body()
        return body

    async def ws(socket: Any) -> None:
        await socket.accept()
        await socket.send_text((await socket.receive_text()).upper())
        await socket.close()

    any_request, any_socket = Request[Any, Any, Any], WebSocket[Any, Any, Any]
    handler.__annotations__["request"] = any_request
    other.__annotations__["request"] = any_request
    echo.__annotations__["request"] = any_request
    ws.__annotations__["socket"] = any_socket
    for one, kind in (
        *((tag, Template), (stream, Stream), (late_page, Stream), (file, File)),
    ):
        one.__annotations__["return"] = kind
    return Litestar(  # type: ignore[return-value]
        route_handlers=[
            get("/tag")(tag),
            get("/handler", media_type=MediaType.TEXT)(handler),
            get("/thread", media_type=MediaType.TEXT, sync_to_thread=True)(thread),
            get("/elsewhere", media_type=MediaType.TEXT)(other),
            get("/stream")(stream),
            get("/late")(late_page),
            get("/file")(file),
            get("/broken")(broken),
            post("/echo", media_type="application/octet-stream")(echo),
            websocket("/ws")(ws),
        ],
        template_config=TemplateConfig(
            instance=JinjaTemplateEngine.from_environment(env)
        ),
        middleware=middleware,
        openapi_config=None,
    )


def litestar(wrap: Wrap) -> ASGIApp:
    return wrap(litestar_app([]))


def litestar_defined(wrap: Wrap) -> ASGIApp:
    from litestar.middleware import DefineMiddleware

    return litestar_app([DefineMiddleware(wrap)])  # type: ignore[arg-type]


# --- Django ----------------------------------------------------------------


def django(wrap: Wrap) -> ASGIApp:
    from django.core.handlers.asgi import ASGIHandler

    from . import django_asgi_urls

    assert django_asgi_urls.urlpatterns
    return wrap(cast(ASGIApp, ASGIHandler()))


@contextmanager
def django_settings() -> Iterator[None]:
    """Have Django run this site, whatever its settings are otherwise."""
    from django.test import override_settings

    import tests.django.project  # noqa: F401  (it configures Django, once)

    jinja = {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "OPTIONS": {
            "environment": "tests.frameworks.asgi_apps.environment",
            "loader": LOADER,
            "extensions": [EXTENSION],
        },
    }
    with override_settings(
        ROOT_URLCONF="tests.frameworks.django_asgi_urls",
        MIDDLEWARE=[],
        TEMPLATES=[jinja],
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
    ):
        yield


# --- Falcon ----------------------------------------------------------------


def falcon(wrap: Wrap) -> ASGIApp:
    import falcon
    import falcon.asgi

    class On:
        """A resource made of one function."""

        def __init__(self, responder: Callable[..., Any], method: str = "get") -> None:
            setattr(self, f"on_{method}", responder)

    async def tag(req: Any, resp: Any) -> None:
        resp.content_type, resp.text = HTML, env.get_template("page").render()

    async def handler(req: Any, resp: Any) -> None:
        resp.text = title(req.scope["state"].get("experiences"))

    async def thread(req: Any, resp: Any) -> None:
        resp.text = await asyncio.to_thread(title)

    async def other(req: Any, resp: Any) -> None:
        resp.text = elsewhere(req)

    async def stream(req: Any, resp: Any) -> None:
        resp.content_type, resp.stream = falcon.MEDIA_TEXT, streamed_bytes()

    async def late_page(req: Any, resp: Any) -> None:
        resp.content_type, resp.stream = falcon.MEDIA_TEXT, late()

    async def file(req: Any, resp: Any) -> None:
        shown()
        resp.data = download().read_bytes()

    async def broken(req: Any, resp: Any) -> None:
        shown()
        raise RuntimeError("broken page")

    async def echo(req: Any, resp: Any) -> None:
        resp.data = await req.stream.read()

    async def ws(req: Any, ws: Any) -> None:
        await ws.accept()
        await ws.send_text((await ws.receive_text()).upper())
        await ws.close()

    app = falcon.asgi.App()
    for path, responder in by_path(
        *(tag, handler, thread, other, stream, late_page, file, broken),
    ):
        app.add_route(path, On(responder))
    app.add_route("/echo", On(echo, "post"))
    app.add_route("/ws", On(ws, "websocket"))
    return wrap(app)  # type: ignore[arg-type]


# --- Sanic -----------------------------------------------------------------

_numbers = itertools.count()


def sanic(wrap: Wrap) -> ASGIApp:
    from sanic import Sanic
    from sanic import response as respond

    # Sanic knows every app of the process by its name.
    app: Any = Sanic(f"shop{next(_numbers)}", configure_logging=False)
    # Rewrites its own code at an app's start, and can do so but once a process.
    app.config.TOUCHUP = False

    async def tag(request: Any) -> Any:
        return respond.html(env.get_template("page").render())

    async def handler(request: Any) -> Any:
        return respond.text(title(request.scope["state"].get("experiences")))

    async def thread(request: Any) -> Any:
        return respond.text(await asyncio.to_thread(title))

    async def other(request: Any) -> Any:
        return respond.text(elsewhere(request))

    async def send(request: Any, pieces: AsyncIterator[Any], kind: str) -> None:
        response = await request.respond(content_type=kind)
        async for piece in pieces:
            await response.send(piece)
        await response.eof()

    async def stream(request: Any) -> None:
        await send(request, streamed(), "text/plain")

    async def late_page(request: Any) -> None:
        await send(request, late(), "text/plain")

    async def file(request: Any) -> Any:
        shown()
        return await respond.file(download())

    async def broken(request: Any) -> Any:
        shown()
        raise RuntimeError("broken page")

    async def echo(request: Any) -> Any:
        return respond.raw(request.body)

    async def ws(request: Any, ws: Any) -> None:
        await ws.send((await ws.recv()).upper())

    for path, endpoint in by_path(
        *(tag, handler, thread, other, stream, late_page, file, broken),
    ):
        app.add_route(endpoint, path)
    app.add_route(echo, "/echo", methods=["POST"])
    app.add_websocket_route(ws, "/ws")
    return wrap(app)


FRAMEWORKS: dict[str, Callable[[Wrap], ASGIApp]] = {
    "starlette": starlette,
    "starlette-listed": starlette_listed,
    "starlette-mounted": starlette_mounted,
    "fastapi": fastapi,
    "quart": quart,
    "litestar": litestar,
    "litestar-defined": litestar_defined,
    "django": django,
    "falcon": falcon,
    "sanic": sanic,
}
