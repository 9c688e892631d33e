"""A small site on a real port, and a real Chromium that visits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
from jinja2 import DictLoader, Environment
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from moe_middleware.sandbox import Sandbox

from ..servers import PATIENCE
from ..sites import Site
from .looking import complaints_of, serving

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/145.0.0.0 Safari/537.36"
POLICY = "default-src 'none'; script-src 'nonce-n0nce'; connect-src 'self'"
KEY = "homepage-banner"

HEAD = """<!doctype html><meta charset="utf-8"><title>Shop</title>
{{ moe_script("n0nce") }}<body>
{%- set hero = request.state.experiences.show("homepage-banner") -%}"""

BODIES = {
    "/": """<a href="/next" {{ hero.attrs("Shop Now") }}><b>Go on</b></a>
      <button type="button" {{ hero.attrs("Button") }}>Stay</button>
      <p id="far" style="margin: 300vh 0; height: 200px" {{ hero.attrs() }}>Far</p>""",
    "/link": """<a href="{{ hero.click_url('/next', 'Link') }}"
      {{ hero.attrs("Link") }}>Link</a>""",
    "/tall": """<p style="margin-top: 200vh; height: 800vh" id="far"
      {{ hero.attrs() }}>Tall</p>""",
    "/many": "{% for n in range(60) %}<i {{ hero.attrs() }}>.</i>{% endfor %}",
    "/near": "<p {{ hero.attrs() }}>Near</p>",
    "/fragment": "<p {{ hero.attrs('Fragment') }}>Fragment</p>",
    "/veiled": "<div id='veil'><p {{ hero.attrs() }}>Veiled</p></div>",
    "/next": "<p>Next</p>",
}


@dataclass
class Shop:
    """A site that is served.

    Attributes:
        url: Its address.
        sandbox: Counts what it reports.
    """

    url: str
    sandbox: Sandbox

    def clicks(self, b_id: str | None = None) -> int:
        return self.sandbox.clicks(KEY, b_id)

    def impressions(self) -> int:
        return self.sandbox.impressions(KEY)


def site_of(
    pages: Mapping[str, str], policy: str, impression: str, mounts: Sequence[Mount] = ()
) -> Site:
    """Return a site whose pages, by their paths, are templates."""
    environment = Environment(
        loader=DictLoader(pages),
        autoescape=True,
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )

    async def handler(request: Request) -> Response:
        if request.url.path not in pages:
            return PlainTextResponse("nothing is here", 404)
        html = environment.get_template(request.url.path).render(request=request)
        return HTMLResponse(html, headers={"content-security-policy": policy})

    routes = [
        {"path": path, "experiences": [KEY], "impression": impression} for path in pages
    ]
    return Site(
        app=Starlette(routes=[*mounts, Route("/{rest:path}", handler)]),
        routes=routes,
        secret_key="a secret of sixteen or more",
        events={"outbox": "memory:", "interval": 0.05},
    )


def site() -> Site:
    policy = f"{POLICY}; style-src 'unsafe-inline'"
    pages = {path: HEAD + body for path, body in BODIES.items()}
    return site_of(pages, policy, "visible")


@pytest.fixture
def shop(sandbox: Sandbox) -> Iterator[Shop]:
    """The site, served."""
    with serving(site().app) as url:
        yield Shop(url, sandbox)


@pytest.fixture
def visitor(browser: Browser, shop: Shop) -> Iterator[BrowserContext]:
    """Alice's browser."""
    context = browser.new_context(
        base_url=shop.url,
        user_agent=USER_AGENT,
        viewport={"width": 800, "height": 600},
    )
    context.set_default_timeout(PATIENCE * 1000)
    context.add_cookies([{"name": "customer_id", "value": "alice", "url": shop.url}])
    yield context
    context.close()


@pytest.fixture
def page(visitor: BrowserContext) -> Iterator[Page]:
    """A page of hers; it complains of nothing, as of a policy's violation."""
    page = visitor.new_page()
    complaints = complaints_of(page)
    yield page
    assert complaints == []
