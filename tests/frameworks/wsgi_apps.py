"""The same small shop in every WSGI framework, and how each is wrapped.

All have these paths: ``/tag`` renders the tag, ``/handler`` asks for the banner's
title, ``/elsewhere`` in a thread of the app's own with the request, ``/stream`` shows
it while the body goes out, ``/late`` stops in the middle of its body, ``/file`` sends a
file, ``/broken`` raises, and ``/echo`` returns what is posted to it.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from moe_middleware import current_experiences

from .asgi_apps import LOADER, elsewhere, environment

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = "homepage-banner"
EXPERIENCES = "moe_middleware.experiences"
EXTENSION = "moe_middleware.jinja.MoEngageExtension"
HTML = "text/html"
TEXT = "text/plain"
PIECE = "." * 20_000
DOWNLOAD = bytes(range(256)) * 400

Wrap = Callable[["WSGIApplication"], "WSGIApplication"]

env = environment()


@functools.cache
def download() -> str:
    """Return the path of a file to send."""
    path = Path(tempfile.mkdtemp(prefix="moe-test-")) / "download.bin"
    path.write_bytes(DOWNLOAD)
    return str(path)


@functools.cache
def templates() -> str:
    """Return a folder of the templates."""
    folder = Path(tempfile.mkdtemp(prefix="moe-test-"))
    for name, text in LOADER.mapping.items():
        (folder / name).write_text(text)
    return str(folder)


def opened() -> IO[bytes]:
    return Path(download()).open("rb")


def page() -> str:
    return env.get_template("page").render()


def title(environ: WSGIEnvironment) -> str:
    """Return the banner's title as the request's own experiences have it."""
    found = environ.get(EXPERIENCES) or current_experiences()
    return str(found[KEY].get("Title", "nobody"))


def shown() -> Any:
    """Return the banner for a template, and count it as shown."""
    return current_experiences().show(KEY)


def streamed() -> Iterator[bytes]:
    """Show the banner in the middle of a body."""
    yield PIECE.encode()
    yield from (one.encode() for one in env.get_template("title").generate())
    yield PIECE.encode()


def late() -> Iterator[bytes]:
    shown()
    for _ in range(5):
        yield PIECE.encode()


# --- without a framework ---------------------------------------------------


def plain(wrap: Wrap) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def answer(body: str, kind: str = TEXT) -> list[bytes]:
            sent = body.encode()
            length = ("Content-Length", str(len(sent)))
            start_response("200 OK", [("Content-Type", kind), length])
            return [sent] if environ["REQUEST_METHOD"] != "HEAD" else []

        match environ["PATH_INFO"]:
            case "/tag":
                return answer(page(), HTML)
            case "/handler":
                return answer(title(environ))
            case "/stream":
                start_response("200 OK", [("Content-Type", TEXT)])
                return streamed()
            case "/late":
                start_response("200 OK", [("Content-Type", TEXT)])
                return late()
            case "/file":
                shown()
                start_response("200 OK", [("Content-Type", TEXT)])
                body: Any = environ["wsgi.file_wrapper"](opened())
                return body  # type: ignore[no-any-return]
            case "/broken":
                shown()
                raise RuntimeError("broken")
            case "/echo":
                length = int(environ["CONTENT_LENGTH"])
                return answer(environ["wsgi.input"].read(length).decode())
        start_response("404 Not Found", [("Content-Type", TEXT)])
        return [b"nowhere"]

    return wrap(app)


# --- Flask -----------------------------------------------------------------


def flask(wrap: Wrap) -> WSGIApplication:
    from flask import Flask, Response, render_template, request, send_file

    app = Flask("shop")
    app.jinja_env.add_extension(EXTENSION)
    app.jinja_env.loader = LOADER
    app.wsgi_app = wrap(app.wsgi_app)  # type: ignore[assignment,method-assign]

    app.add_url_rule("/tag", "tag", lambda: render_template("page"))
    app.add_url_rule("/handler", "handler", lambda: title(request.environ))

    @app.route("/elsewhere")
    def other() -> str:
        return elsewhere(request._get_current_object())  # type: ignore[attr-defined]

    app.add_url_rule(
        "/stream", "stream", lambda: Response(streamed(), content_type=TEXT)
    )
    app.add_url_rule("/late", "late", lambda: Response(late(), content_type=TEXT))

    @app.route("/file")
    def file() -> Any:
        shown()
        return send_file(download())

    @app.route("/broken")
    def broken() -> str:
        shown()
        raise RuntimeError("broken")

    @app.route("/echo", methods=["POST"])
    def echo() -> Any:
        return Response(request.get_data(), content_type=TEXT)

    return app


# --- Django ----------------------------------------------------------------


def django(wrap: Wrap) -> WSGIApplication:
    from django.core.handlers.wsgi import WSGIHandler

    from . import django_wsgi_urls

    assert django_wsgi_urls.urlpatterns
    return wrap(WSGIHandler())


@contextmanager
def django_settings() -> Iterator[None]:
    """Have Django run this site, whatever its settings are otherwise."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(SECRET_KEY="test", USE_TZ=True)
        django.setup()
    from django.test import override_settings

    with override_settings(
        ROOT_URLCONF="tests.frameworks.django_wsgi_urls",
        MIDDLEWARE=[],
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        LOGGING_CONFIG=None,
    ):
        yield


# --- Pyramid ---------------------------------------------------------------


def pyramid(wrap: Wrap) -> WSGIApplication:
    from pyramid.config import Configurator  # type: ignore[import-untyped]
    from pyramid.response import FileResponse, Response  # type: ignore[import-untyped]

    def streaming(parts: Iterator[bytes]) -> Any:
        return Response(app_iter=parts, content_type=TEXT)

    def file(request: Any) -> Any:
        shown()
        return FileResponse(download(), request=request)

    def broken(request: Any) -> Any:
        shown()
        raise RuntimeError("broken")

    views: dict[str, Callable[[Any], Any]] = {
        "tag": lambda request: Response(page()),
        "handler": lambda request: Response(title(request.environ)),
        "elsewhere": lambda request: Response(elsewhere(request)),
        "stream": lambda request: streaming(streamed()),
        "late": lambda request: streaming(late()),
        "file": file,
        "broken": broken,
        "echo": lambda request: Response(request.body, content_type=TEXT),
    }
    with Configurator() as config:
        for name, view in views.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name)
        return wrap(config.make_wsgi_app())


# --- Bottle ----------------------------------------------------------------


def bottle(wrap: Wrap) -> WSGIApplication:
    import bottle as web  # type: ignore[import-untyped]

    app = web.Bottle()
    own_options = {"extensions": [EXTENSION], "autoescape": True}
    app.get("/tag")(
        lambda: web.jinja2_template(
            "page", template_lookup=[templates()], template_settings=own_options
        )
    )
    app.get("/elsewhere")(lambda: elsewhere(web.request.copy()))
    app.get("/handler")(lambda: title(web.request.environ))

    def streaming(parts: Callable[[], Iterator[bytes]]) -> Any:
        web.response.content_type = TEXT
        return parts()

    app.get("/stream")(lambda: streaming(streamed))
    app.get("/late")(lambda: streaming(late))

    @app.get("/file")  # type: ignore[untyped-decorator]
    def file() -> Any:
        shown()
        path = Path(download())
        return web.static_file(path.name, root=str(path.parent))

    @app.get("/broken")  # type: ignore[untyped-decorator]
    def broken() -> Any:
        shown()
        raise RuntimeError("broken")

    app.post("/echo")(lambda: web.request.body.read())
    return wrap(app)


# --- Falcon ----------------------------------------------------------------


def falcon(wrap: Wrap) -> WSGIApplication:
    import falcon

    class On:
        """A resource made of one function."""

        def __init__(self, responder: Callable[..., Any], method: str = "get") -> None:
            setattr(self, f"on_{method}", responder)

    def answering(make: Callable[[Any], str]) -> On:
        def responder(req: Any, resp: Any) -> None:
            resp.content_type, resp.text = HTML, make(req)

        return On(responder)

    def streaming(parts: Callable[[], Any]) -> On:
        def responder(req: Any, resp: Any) -> None:
            resp.content_type, resp.stream = TEXT, parts()

        return On(responder)

    def file() -> Any:
        shown()
        return opened()

    def broken(req: Any, resp: Any) -> None:
        shown()
        raise RuntimeError("broken")

    def echo(req: Any, resp: Any) -> None:
        resp.content_type, resp.data = TEXT, req.bounded_stream.read()

    app = falcon.App()
    app.add_route("/tag", answering(lambda req: page()))
    app.add_route("/handler", answering(lambda req: title(req.env)))
    app.add_route("/stream", streaming(streamed))
    app.add_route("/late", streaming(late))
    app.add_route("/file", streaming(file))
    app.add_route("/broken", On(broken))
    app.add_route("/echo", On(echo, "post"))
    return wrap(app)


FRAMEWORKS: dict[str, Callable[[Wrap], WSGIApplication]] = {
    "plain": plain,
    "flask": flask,
    "django": django,
    "pyramid": pyramid,
    "bottle": bottle,
    "falcon": falcon,
}
