"""The site whose impressions are counted: one page with the tag, through two doors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware
from moe_middleware.concurrency.background_loop import background

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PAGE = """
{%- experience "homepage-banner" as banner -%}
<h1>{{ banner.Title }}</h1>
{%- else -%}
<h1>Welcome</h1>
{%- endexperience -%}
"""

env = Environment(
    loader=DictLoader({"page": PAGE}),
    extensions=["moe_middleware.jinja.MoEngageExtension"],
    autoescape=True,
)


async def page(request: Request) -> Response:
    return HTMLResponse(env.get_template("page").render(request=request))


def wsgi_page(
    _environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    body = env.get_template("page").render().encode()
    headers = [("content-type", "text/html"), ("content-length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


asgi = MoEngageMiddleware(Starlette(routes=[Route("/", page)]))
wsgi = MoEngageWSGIMiddleware(wsgi_page)


class Shown:
    """Pages through the WSGI door, without a server."""

    def record(self, user: str) -> None:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "HTTP_COOKIE": f"customer_id={user}",
            "HTTP_USER_AGENT": "Firefox",
            "HTTP_HOST": "shop.test",
        }
        started: Any = lambda *_: None  # noqa: E731
        body: Any = wsgi(environ, started)
        page = b"".join(body)
        body.close()
        assert b"Slow mornings" in page, page

    def close(self) -> None:
        background.run(wsgi.runtime.stop())
