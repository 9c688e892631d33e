"""The shop's pages. Handlers stay small: the templates ask for the experiences."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.sandbox import embedded

from . import consent
from .counted import read_counted, sandbox_pages
from .explained import explain_link
from .forms import read_form, same_site
from .policy import new_nonce, policy
from .previews import PreviewDesk
from .shop import (
    TEAS,
    add_to_cart,
    money,
    read_cart,
    read_offer,
    remove_from_cart,
    write_cart,
)

HERE = Path(__file__).parent
CONFIG = HERE / "moe.yml"
A_MONTH = 30 * 24 * 3600

# The sandbox's sample customers, with the tier its audiences look at.
CUSTOMERS = {"alice": "gold", "bob": "silver", "carol": "", "dave": "gold"}

PREVIEW = "moe_preview"
"""The cookie of an open preview."""

SORRY = {
    404: (
        "We do not keep that one",
        "Perhaps it is a tea we ought to know. Until then, here are the six we have.",
    ),
    405: (
        "That does not work here",
        "This address takes another kind of request. The teas are this way.",
    ),
    413: (
        "That is too much at once",
        "The form was larger than any of ours, so we did not read it.",
    ),
}
"""Heading and text of the page for each status."""


async def home(request: Request) -> Response:
    return await page(request, "home.html", teas=list(TEAS.values())[:3])


async def products(request: Request) -> Response:
    return await page(request, "products.html", teas=TEAS.values())


async def product(request: Request) -> Response:
    tea = TEAS.get(request.path_params["sku"])
    if tea is None:
        raise HTTPException(404)
    return await page(request, "product.html", tea=tea)


async def cart(request: Request) -> Response:
    return await page(request, "cart.html", when_seen=["cart-upsell"])


async def club(request: Request) -> Response:
    # The counting on this page is the Web SDK's part.
    return await page(request, "club.html", web_sdk=True)


async def change_cart(request: Request) -> Response:
    """Add a tea to the cart, or take it out."""
    form = await read_form(request)
    sku, held = form.get("sku", ""), read_cart(request.cookies.get("cart", ""))
    if sku not in TEAS:
        raise HTTPException(404)
    if request.url.path == "/cart/remove":
        held = remove_from_cart(held, sku)
    else:
        held = add_to_cart(held, sku, 1)
    return go("/cart", cart=write_cart(held))


async def become(request: Request) -> Response:
    """Play another visitor: a stand-in for signing in and out."""
    form = await read_form(request)
    who = form.get("customer_id", "")
    cookies = {"customer_id": who if who in CUSTOMERS else ""}
    # A preview belongs to the visitor before.
    if PREVIEW in request.cookies:
        cookies[PREVIEW] = ""
    return go(same_site(form.get("back")), **cookies)


async def decide(request: Request) -> Response:
    """Store the visitor's answer to the consent question."""
    form = await read_form(request)
    given = form.get("consent", "")
    kept = given if given in consent.ANSWERS else ""
    return go(same_site(form.get("back")), **{consent.COOKIE: kept})


async def counted(request: Request) -> Response:
    """The figures at the foot; the page's script fetches them every second."""
    summary = await request.state.read_counted()
    return templates.TemplateResponse(
        request,
        "counted.html",
        {"counted": summary},
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'",
        },
    )


async def favicon(request: Request) -> Response:
    return FileResponse(HERE / "static" / "favicon.svg", media_type="image/svg+xml")


async def sorry(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    heading, text = SORRY[error.status_code]
    return await page(
        request, "sorry.html", status=error.status_code, heading=heading, text=text
    )


async def broken(request: Request, _error: Exception) -> Response:
    """The page for an unexpected error."""
    # Without `page`: what that needs may be broken.
    return templates.TemplateResponse(
        request,
        "broken.html",
        status_code=500,
        headers={"Content-Security-Policy": policy(new_nonce(), None)},
    )


async def page(
    request: Request, template: str, status: int = 200, **context: Any
) -> Response:
    """Render a page, with what every page of the shop needs."""
    experiences = request.state.experiences
    who = request.cookies.get("customer_id", "")
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    previews, nonce = request.state.previews, new_nonce()
    everywhere: dict[str, Any] = {
        "experiences": experiences,
        "csp_nonce": nonce,
        "consent": consent.answer(request),
        "explain": request.state.sandbox
        and explain_link(
            request.state.sandbox, request, experiences.identity, datetime.now(UTC)
        ),
        "previews": previews,
        "preview": previews and previews.opened(request.cookies.get(PREVIEW)),
        "offer": read_offer(experiences["price-badge"].payload),
        "cart": read_cart(request.cookies.get("cart", "")),
        "customers": CUSTOMERS,
        "who": who if who in CUSTOMERS else "",
        "here": here,
        "shelf": TEAS,
        "counted": await request.state.read_counted(),
        "sandbox": request.state.sandbox,
    }
    return templates.TemplateResponse(
        request,
        template,
        everywhere | context,
        status_code=status,
        headers={"Content-Security-Policy": policy(nonce, request.state.sandbox)},
    )


def go(target: str, **cookies: str) -> Response:
    """Send the browser on after a form, setting cookies; an empty one is cleared."""
    response = RedirectResponse(target, status_code=303)
    for name, value in cookies.items():
        if value:
            response.set_cookie(name, value, max_age=A_MONTH, httponly=True)
        else:
            response.delete_cookie(name, httponly=True)
    return response


templates = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )
)
templates.env.filters |= {"money": money, "same_site": same_site}


def build_app(
    config: Path | Settings = CONFIG, environ: Mapping[str, str] = os.environ
) -> Starlette:
    """Put the shop together.

    Args:
        config: The settings of moe_middleware, or their file.
        environ: Names the workspace, so that its ledger can be found.
    """
    pages = sandbox_pages(environ)
    if isinstance(config, Path):
        config = Settings.load(config, environ=environ)
    previews = PreviewDesk(config) if pages == "/sandbox" else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        # A sandbox is a neighbour: a proxy between us would only be in the way.
        async with httpx.AsyncClient(trust_env=False) as client:
            yield {
                "read_counted": partial(read_counted, environ, client),
                "sandbox": pages,
                "previews": previews,
            }

    return Starlette(
        routes=[
            Route("/", home),
            Route("/products", products),
            Route("/products/{sku}", product),
            Route("/cart", cart),
            Route("/cart/add", change_cart, methods=["POST"]),
            Route("/cart/remove", change_cart, methods=["POST"]),
            Route("/club", club),
            Route("/who", become, methods=["POST"]),
            Route("/consent", decide, methods=["POST"]),
            Route("/counted", counted),
            Route("/favicon.ico", favicon),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            # The sandbox inside this process shows its pages at our own address.
            *([Mount(pages, embedded())] if pages == "/sandbox" else []),
        ],
        middleware=[Middleware(MoEngageMiddleware, config=config)],
        exception_handlers={**dict.fromkeys(SORRY, sorry), 500: broken},
        lifespan=lifespan,
    )


app = build_app()
