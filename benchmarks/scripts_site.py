"""A page of the shop in every dress that clicks and sight can give it."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware

from .shop import BANNER, PRODUCTS, shop_settings, template

KEY = "homepage-banner"

TAG = "/"
"""The page with the tag alone. It stores no impression: the thread that does so takes
its turns at other times once the page does more, and pages would differ by that."""

IMPRESSION = "/impression"
NOTHING = "/nothing"
"""An empty page, for browsers to come from."""

CLICK_URL = "/click-url"
ATTRS = "/attrs"
VISIBLE = "/visible"
SCRIPT = "/script"
WEB_SDK = "/web-sdk"

FEATURES = {
    CLICK_URL: "click_url()",
    ATTRS: "attrs()",
    VISIBLE: "attrs() that tells of sight",
    SCRIPT: "the script's element",
    WEB_SDK: "attrs() and web_sdk()",
}
"""What each page has more than the one with the tag alone."""

_LINK = "<h1>{{{{ hero.Title }}}}</h1><a {}>{{{{ hero['CTA Label'] }}}}</a>"
_PLAIN = _LINK.format('href="/shop"')
_MARKED = _LINK.format("""href="/shop" {{ hero.attrs("Shop Now") }}""")
_COUNTED = _LINK.format("""href="{{ hero.click_url('/shop', 'Shop Now') }}" """)
_SCRIPT = """{{ experiences.script("n0nce") }}"""

_UNCOUNTED = "impression=false"
_SHOWN = {
    TAG: (_UNCOUNTED, _PLAIN),
    IMPRESSION: ("", _PLAIN),
    CLICK_URL: (_UNCOUNTED, _COUNTED),
    ATTRS: (_UNCOUNTED, _MARKED),
    VISIBLE: ('impression="visible"', _MARKED),
    SCRIPT: (_UNCOUNTED, _PLAIN + _SCRIPT),
    WEB_SDK: (
        'impression="web_sdk"',
        _MARKED + """{{ experiences.web_sdk(nonce="n0nce") }}""",
    ),
}
_ELEMENTS = """\
{{% for number in range(count) %}}
<button type="button"{}>Tea {{{{ number }}}}</button>
{{% endfor %}}"""
_KINDS = {
    "plain": ("", _ELEMENTS.format("")),
    "marked": (
        'impression="visible"',
        _SCRIPT + _ELEMENTS.format(' {{ hero.attrs("Tea") }}'),
    ),
}


def elements(kind: str, count: int) -> str:
    """Return the path of the page with so many elements, ``plain`` or ``marked``.

    The page with marked ones has the script, too.
    """
    return f"/{kind}/{count}"


def bare_site() -> ASGIApp:
    """Return the site without us: one page, the same HTML from plain variables."""
    shown = f"{{% if hero %}}{_PLAIN}{{% endif %}}"
    bare = template(_page(shown))

    async def page(request: Request) -> Response:
        return HTMLResponse(bare.render(products=PRODUCTS, hero=BANNER))

    return Starlette(routes=[Route(TAG, page)])


def scripts_site(directory: Path) -> MoEngageMiddleware:
    """Return the site with us in front, whose outbox is a file in ``directory``."""
    shown = {name: _tag(*how) for name, how in (_SHOWN | _KINDS).items()}
    templates = {name: template(_page(banner)) for name, banner in shown.items()}

    async def page(request: Request) -> Response:
        name, count = request.path_params.get("kind", request.url.path), 0
        if name in _KINDS:
            count = request.path_params["count"]
        html = templates[name].render(
            products=PRODUCTS, experiences=request.state.experiences, count=count
        )
        return HTMLResponse(html)

    async def nothing(request: Request) -> Response:
        return PlainTextResponse("")

    paths = [TAG, IMPRESSION, *FEATURES]
    # One route for all pages: the router tries one after the other.
    site = Starlette(
        routes=[
            Route("/favicon.ico", nothing),
            Route(NOTHING, nothing),
            Route("/{kind}/{count:int}", page),
            Route("/{feature:path}", page),
        ]
    )
    routes = [
        {"path": path, "experiences": [KEY]} for path in (*paths, "/{kind}/{count}")
    ]
    settings = shop_settings(directory, routes, secret_key="a secret for the bench")
    return MoEngageMiddleware(site, config=settings)


def _tag(how: str, shown: str) -> str:
    return f'{{% experience "{KEY}" as hero {how} %}}{shown}{{% endexperience %}}'


def _page(banner: str) -> str:
    return f'{{% extends "page" %}}{{% block banner %}}{banner}{{% endblock %}}'
