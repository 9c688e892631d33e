"""The apps under measurement: one shop, bare and wrapped, that sends the same pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, Template
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.sandbox import embedded, sample_workspace

MANY_FETCHES = 10_000_000
"""A minute; MoEngage's own limit would be what is measured."""

WARM_VISITORS = 50
MANY_VISITORS = 5_000
RELAY_LOOKS_WITHIN = 0.5
"""In seconds."""

USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/128.0.0.0 Safari/537.36"
)
HEADERS = {
    "host": "shop.example",
    "user-agent": USER_AGENT,
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.9",
    "accept-encoding": "gzip, deflate, br",
}

PRODUCTS = [
    {"name": f"Tea No. {number}", "price": number * 1.5, "sku": f"tea-{number}"}
    for number in range(24)
]
BANNER = {"Title": "Free shipping on your first order", "CTA Label": "Shop now"}

PAGE = """\
<!doctype html><html lang="en"><head><title>Tea</title></head><body>
{% block banner %}{% endblock %}
<ul>
{% for product in products %}
<li><a href="/products/{{ product.sku }}">{{ product.name }}</a>
<span class="price">{{ "%.2f"|format(product.price) }} EUR</span></li>
{% endfor %}
</ul></body></html>
"""
SHOW = "<h1>{{ hero.Title }}</h1><a href='/shop'>{{ hero['CTA Label'] }}</a>"
PLAIN = f"""\
{{% extends "page" %}}{{% block banner %}}
{{% if banner %}}{SHOW.replace("hero", "banner")}{{% endif %}}
{{% if strip %}}<p>{{{{ strip.Title }}}}</p>{{% endif %}}
{{% endblock %}}"""
PERSONAL = f"""\
{{% extends "page" %}}{{% block banner %}}
{{% experience "homepage-banner" as hero %}}{SHOW}{{% endexperience %}}
{{% experience "promo-strip" as strip %}}<p>{{{{ strip.Text }}}}</p>
{{% endexperience %}}
{{% endblock %}}"""


def bare_shop() -> ASGIApp:
    """Return the shop without us: the same HTML from plain variables."""
    return _shop(template(PLAIN), {"banner": BANNER, "strip": BANNER})


def our_shop(directory: str | Path, **sections: Any) -> MoEngageMiddleware:
    """Return the shop with us in front, whose outbox is a file in ``directory``.

    Args:
        directory: Made where it is missing.
        sections: Other sections of ``moe.yml``.

    Nothing is delivered while it runs: the sandbox that would take the events works
    in this very process, and its work is not ours.
    """
    Path(directory).mkdir(parents=True, exist_ok=True)
    settings = shop_settings(
        directory,
        [
            {"path": "/", "experiences": ["homepage-banner", "promo-strip"]},
            {"path": "/products/{sku}", "experiences": ["cart-upsell"]},
            {"path": "/docs/{rest:path}", "experiences": ["promo-strip"]},
        ],
        **sections,
    )
    return MoEngageMiddleware(_shop(template(PERSONAL), {}), config=settings)


def shop_settings(
    directory: str | Path, routes: Sequence[Mapping[str, Any]], **sections: Any
) -> Settings:
    """Return settings for the sandbox in this process, whose limit of fetches goes.

    Args:
        directory: Where the outbox's file goes.
        routes: As in ``moe.yml``.
        sections: Other sections of ``moe.yml``.
    """
    # Visitors come by the thousand within a second, all of them for the first time.
    embedded().workspace = replace(sample_workspace(), fetch_limit=MANY_FETCHES)
    usual: dict[str, Any] = {
        "workspace": {"data_center": "sandbox"},
        "identity": {"customer_id": {"cookie": "customer_id"}},
        "fetch": {"timeout": 5.0},
        "budget": {"calls_per_minute": MANY_FETCHES},
        "cache": {"ttl": 3600.0},
        "events": {
            "outbox": f"sqlite:///{Path(directory) / 'outbox.db'}",
            "interval": 3600.0,
            "shutdown_timeout": 0.0,
        },
    }
    return Settings(routes=routes, **{**usual, **sections})


def request_scope(path: str, customer: int | str) -> dict[str, Any]:
    """Return a request as uvicorn would hand it over."""
    headers = {**HEADERS, "cookie": f"theme=dark; customer_id=customer-{customer}"}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }


async def visit(app: ASGIApp, scope: Scope) -> int:
    """Send one request through an app in process; return the response's status."""
    status = 0

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app({**scope, "state": {}}, _receive, send)
    return status


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def fill_cache(app: MoEngageMiddleware, visitors: int) -> None:
    """Let every visitor come once, so that all their later pages are cached."""
    app.runtime.start()
    # The relay finds nothing at its first look and rests for longer than we measure.
    await asyncio.sleep(RELAY_LOOKS_WITHIN)
    for customer in range(visitors):
        await visit(app, request_scope("/", customer))


def template(source: str) -> Template:
    """Return a template that may extend ``page`` and use our tag."""
    environment = Environment(
        loader=DictLoader({"page": PAGE, "shop": source}),
        autoescape=True,
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )
    return environment.get_template("shop")


def _shop(shown: Template, variables: dict[str, Any]) -> Starlette:
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(shown.render(products=PRODUCTS, **variables))

    async def unmapped(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", page), Route("/unmapped", unmapped)])
