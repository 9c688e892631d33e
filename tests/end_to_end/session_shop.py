"""The shop of the scripted session: its site, its settings, its experiences.

``uvicorn --factory tests.end_to_end.session_shop:configured`` serves it with the
settings that ``MOE_CONFIG`` names. Each payload says of which variation it is, so
every page says what it showed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware

SECRET = "a secret of the scripted session"

CONFIG = """
workspace: {{id: sandbox, api_key: sandbox-key, base_url: "{api}/v1"}}
identity: {{customer_id: {{cookie: customer_id}}}}
attributes: {{utm_medium: {{query: utm_medium}}}}
routes:
  - {{path: /, experiences: [homepage-banner, promo-strip]}}
  - {{path: /offers, experiences: [product-badge, cart-upsell], impression: visible}}
  - {{path: /mixed, experiences: [homepage-banner, cart-upsell, footer-note]}}
  - {{path: /news, experiences: [footer-note, promo-strip]}}
  - {{path: /sdk, experiences: [cart-upsell, promo-strip], impression: web_sdk}}
  - {{path: "/odd/{{what}}", experiences: [homepage-banner]}}
fetch: {{timeout: 10}}
metadata: {{interval: 0}}
budget: {{calls_per_minute: 1000000}}
secret_key: {secret}
events: {{outbox: "{outbox}", interval: 0.2, shutdown_timeout: 0.5}}
"""

TIERS = ("gold", "silver", None, "unknown")
"""Of customers, in turn; the unknown ones MoEngage has never heard of."""

CUSTOMERS = tuple(f"c{number}-{TIERS[number % 4] or 'plain'}" for number in range(60))


def _audience(audience_id: str, shares: list[int], **rules: Any) -> dict[str, Any]:
    variations = [
        {
            "id": str(number),
            "percent": share,
            "payload": {
                "Audience": audience_id,
                "Variation": {"value": str(number), "data_type": "string"},
            },
        }
        for number, share in enumerate(shares, start=1)
    ]
    return {"id": audience_id, "name": audience_id, "variations": variations, **rules}


def _experience(key: str, *audiences: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"key": key, "name": f"The {key}", "audiences": list(audiences), **fields}


_GOLD = {"where": {"attribute": "tier", "is": "gold"}}
_TIERED = {"where": {"attribute": "tier", "is": ["gold", "silver"]}}
_BY_MAIL = {"in_session": {"query": {"utm_medium": ["email"]}}}

WORKSPACE = json.dumps(
    {
        "limits": {"fetches_per_minute": 1_000_000},
        "users": [
            {"id": customer, "attributes": {"tier": tier} if tier else {}}
            for customer, tier in zip(CUSTOMERS, TIERS * 15, strict=True)
            if tier != "unknown"
        ],
        "experiences": [
            _experience(
                "homepage-banner",
                _audience("1A", [50, 50], **_GOLD),
                _audience("2B", [34, 33, 33]),
            ),
            _experience(
                "promo-strip",
                _audience("1M", [100], **_BY_MAIL),
                _audience("2M", [70, 30]),
            ),
            _experience("product-badge", _audience("1P", [50, 50], **_TIERED)),
            _experience("cart-upsell", _audience("1C", [20, 20, 20, 20, 20])),
            _experience(
                "footer-note",
                _audience("1F", [50, 50]),
                control_group={"percent": 30},
            ),
            _experience(
                "checkout-hint", _audience("1H", [60, 40]), _audience("2H", [100])
            ),
            _experience("never-shown", _audience("1N", [50, 50])),
        ],
    }
)

LINKS = ("Shop Now", "Jetzt kaufen, ü", '=1+1 "go"', None)
"""The ``b_id`` of each link of a section, which is its text as well."""

MARKS = ("Not now", "Shop Now")
"""The ``b_id`` of each element of a section that the browser's script watches."""

_PAGE = """
{%- for key, counting in keys -%}
{%- experience key as it impression=counting -%}
<section data-key="{{ key }}" data-audience="{{ it.Audience }}"
  data-variation="{{ it.Variation }}">
  {%- for b_id in links %}
  <a href="{{ it.click_url('/shop?from=' ~ key, b_id) }}">{{ b_id or '' }}</a>
  {%- endfor %}
  {%- for b_id in marks %}
  <button {{ it.attrs(b_id) }}>{{ b_id }}</button>
  {%- endfor %}
  <p {{ it.attrs() }}></p>
</section>
{%- endexperience -%}
{%- endfor -%}
"""

_templates = Environment(
    loader=DictLoader({"page": _PAGE}),
    extensions=["moe_middleware.jinja.MoEngageExtension"],
    autoescape=True,
)


def _render(request: Request, **keys: bool | str) -> str:
    """Return a page with these experiences, each with the tag's ``impression``."""
    listed = [(key.replace("_", "-"), counting) for key, counting in keys.items()]
    page = _templates.get_template("page")
    return page.render(request=request, keys=listed, links=LINKS, marks=MARKS)


async def home(request: Request) -> Response:
    return HTMLResponse(_render(request, homepage_banner=True, promo_strip=True))


async def offers(request: Request) -> Response:
    return HTMLResponse(_render(request, product_badge=True, cart_upsell=True))


async def mixed(request: Request) -> Response:
    """Count one at once, one when it is seen, one not at all; show the first twice."""
    page = _render(
        request, cart_upsell="visible", footer_note=False, homepage_banner=True
    )
    return HTMLResponse(page + _render(request, homepage_banner=True))


async def news(request: Request) -> Response:
    """Answer 304 where the browser still has what it would get."""
    experiences = request.state.experiences
    found = [experiences.show(key) for key in ("footer-note", "promo-strip")]
    etag = sha256(repr([one.payload for one in found]).encode()).hexdigest()
    headers = {"etag": f'"{etag}"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    page = _render(request, footer_note=True, promo_strip=True)
    return HTMLResponse(page, headers=headers)


async def sdk(request: Request) -> Response:
    """Leave the counting to the Web SDK, which no browser of this session runs."""
    page = _render(request, cart_upsell=True, promo_strip=True)
    return HTMLResponse(f"{page}{request.state.experiences.web_sdk()}")


async def odd(request: Request) -> Response:
    """Show the banner on a page that is never a page of its own."""
    page = _render(request, homepage_banner=True)
    match request.path_params["what"]:
        case "broken":
            raise RuntimeError("this page is to fail")
        case "moved":
            return RedirectResponse("/shop", 303)
        case "gone":
            return HTMLResponse(page, 404)

    async def body() -> AsyncIterator[str]:
        # Its visitors leave before the end.
        yield page
        while True:
            await asyncio.sleep(0.02)
            yield "." * 1000

    return StreamingResponse(body())


async def api(request: Request) -> Response:
    """Count what ``?track=`` names, in this order, and tell of which variation."""
    key = request.path_params["key"]
    experiences = request.state.experiences
    found = await experiences.fetch(key)
    for what in request.query_params.getlist("track"):
        match what:
            case "impression":
                experiences.track_impression(key)
            case "click":
                experiences.track_click(key, request.query_params.get("b_id"))
            case "show":
                experiences.show(key)
    answer = {"key": key, **found.payload} if found else {}
    return JSONResponse(answer, int(request.query_params.get("status", "200")))


async def shop(_: Request) -> Response:
    return HTMLResponse("<h1>Shop</h1>")


routes = [
    Route("/", home),
    Route("/offers", offers),
    Route("/mixed", mixed),
    Route("/news", news),
    Route("/sdk", sdk),
    Route("/odd/{what}", odd),
    Route("/api/{key}", api, methods=["POST"]),
    Route("/shop", shop),
]


def configured() -> MoEngageMiddleware:
    return MoEngageMiddleware(Starlette(routes=routes))
