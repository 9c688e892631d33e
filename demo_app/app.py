"""The shop's pages. Handlers stay small: what a visitor gets, the templates ask."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
from .counted import open_ledger, read_counted, sandbox_pages
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
    return await page(request, "cart.html")


async def club(request: Request) -> Response:
    """The page whose counting is the Web SDK's part."""
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
    return go(same_site(form.get("back")), customer_id=who if who in CUSTOMERS else "")


async def decide(request: Request) -> Response:
    """Note what the visitor says to being remembered."""
    form = await read_form(request)
    said = form.get("consent", "")
    kept = said if said in consent.ANSWERS else ""
    return go(same_site(form.get("back")), **{consent.COOKIE: kept})


async def counted(request: Request) -> Response:
    """What the strip at the foot asks for every second."""
    summary = await read_counted(request.state.ledger)
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
    status = error.status_code if isinstance(error, HTTPException) else 500
    return await page(request, "sorry.html", status=status)


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
        "previews": previews,
        "preview": previews and previews.opened(request.cookies.get("moe_preview")),
        "offer": read_offer(experiences["price-badge"].payload),
        "cart": read_cart(request.cookies.get("cart", "")),
        "customers": CUSTOMERS,
        "who": who if who in CUSTOMERS else "",
        "here": here,
        "shelf": TEAS,
        "status": status,
        "counted": await read_counted(request.state.ledger),
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
        config: What moe_middleware goes by.
        environ: Says which workspace that is, so that its ledger can be found.
    """

    pages = sandbox_pages(environ)
    settings = (
        config
        if isinstance(config, Settings)
        else Settings.load(config, environ=environ)
    )
    previews = PreviewDesk(settings, embedded()) if pages == "/sandbox" else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        # A sandbox is a neighbour: a proxy between us would only be in the way.
        async with httpx.AsyncClient(trust_env=False) as client:
            yield {
                "ledger": open_ledger(environ, client),
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
        middleware=[Middleware(MoEngageMiddleware, config=settings)],
        exception_handlers={404: sorry, 405: sorry, 413: sorry},
        lifespan=lifespan,
    )


app = build_app()
