"""The site whose impressions are counted: one page with the tag, through two doors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware

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
