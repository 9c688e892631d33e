"""What a request costs at each door, beside the bare app and the usual middleware."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2wsgi import ASGIMiddleware, WSGIMiddleware
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware, Settings
from moe_middleware.concurrency.background_loop import background

from .effort import Effort
from .in_process import page_cost, sentry
from .ratios import NO_GOAL, Measure, Row, compare
from .shop import (
    BANNER,
    HEADERS,
    PERSONAL,
    PLAIN,
    PRODUCTS,
    WARM_VISITORS,
    bare_shop,
    fill_cache,
    our_shop,
    request_scope,
    shop_settings,
    template,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNMAPPED_REQUESTS = 3_000
PAGE_REQUESTS = 500
ROUNDS = 9


async def doors(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare an unmapped path and a cached page, at the ASGI and the WSGI door."""
    requests, pages = effort.amount(UNMAPPED_REQUESTS), effort.amount(PAGE_REQUESTS)
    beside = partial(compare, unit="us CPU", rounds=effort.rounds_of(ROUNDS))
    ours, base = our_shop(directory / "asgi"), _Base(bare_shop())
    await fill_cache(ours, WARM_VISITORS)
    for path, what, goal in (
        ("/unmapped", "an unmapped path", "<= 1.0"),
        ("/", "a cached page", NO_GOAL),
    ):
        yield await beside(
            f"{what}, in process, beside an empty BaseHTTPMiddleware",
            ours=page_cost(ours, [request_scope(path, 1)], requests),
            rival=page_cost(base, [request_scope(path, 1)], requests),
            goal=goal,
        )
    await ours.runtime.stop()
    # The rival of a page at the WSGI door is the only other way to it: a2wsgi around
    # the ASGI door around a2wsgi around the app.
    bare = _shop(PLAIN, {"banner": BANNER, "strip": BANNER})
    routes = [{"path": "/", "experiences": ["homepage-banner", "promo-strip"]}]
    settings = shop_settings(directory, routes)
    door = MoEngageWSGIMiddleware(_shop(PERSONAL, {}), config=settings)
    visitors = _visitors()
    unmapped = [{**visitors[0], "PATH_INFO": "/unmapped"}]
    for environ in visitors:
        _visit(door, environ)
    cpu, wall = time.process_time, time.perf_counter
    yield await beside(
        "WSGI: unmapped path, beside the bare app",
        ours=_cost(door, unmapped, requests, cpu),
        rival=_cost(bare, unmapped, requests, cpu),
    )
    with sentry():
        yield await beside(
            "  and Sentry's WSGI middleware, beside the bare app",
            ours=_cost(SentryWsgiMiddleware(bare), unmapped, requests, cpu),
            rival=_cost(bare, unmapped, requests, cpu),
        )
    yield await beside(
        "WSGI: cached page, 2 tags, 2 impressions, beside the bare app",
        ours=_cost(door, visitors, pages, cpu),
        rival=_cost(bare, visitors, pages, cpu),
        goal="<= 20 us more",
    )
    bridged = _bridged(_shop(PERSONAL, {}), settings)
    for environ in visitors:
        _visit(bridged, environ)
    yield await beside(
        "WSGI: cached page, beside a2wsgi and the ASGI door",
        ours=_cost(door, visitors, pages, wall),
        rival=_cost(bridged, visitors, pages, wall),
        unit="us",
        goal="<= 0.8",
    )


class _Base(BaseHTTPMiddleware):
    async def dispatch(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        return await call_next(request)


def _bridged(app: WSGIApplication, settings: Settings) -> Any:
    given: Any = app
    inner: Any = WSGIMiddleware(given)
    outer: Any = MoEngageMiddleware(inner, config=settings)
    return ASGIMiddleware(outer, loop=background.loop)


def _shop(source: str, variables: dict[str, Any]) -> WSGIApplication:
    shown = template(source)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/unmapped":
            body = b"ok"
        else:
            body = shown.render(products=PRODUCTS, **variables).encode()
        headers = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    return app


def _visitors() -> list[WSGIEnvironment]:
    given = {
        f"HTTP_{name.upper().replace('-', '_')}": it for name, it in HEADERS.items()
    }
    return [
        {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": None,
            **given,
            "HTTP_COOKIE": f"theme=dark; customer_id=customer-{customer}",
        }
        for customer in range(WARM_VISITORS)
    ]


def _visit(app: WSGIApplication, environ: WSGIEnvironment) -> None:
    body = app({**environ}, lambda *_: lambda _: None)
    for _ in body:
        pass
    getattr(body, "close", lambda: None)()


def _cost(
    app: WSGIApplication,
    environs: list[WSGIEnvironment],
    count: int,
    clock: Callable[[], float],
) -> Measure:
    """Measure one request, in microseconds of this clock, impressions included."""

    async def measure() -> float:
        started = clock()
        for environ in itertools.islice(itertools.cycle(environs), count):
            _visit(app, environ)
        if isinstance(app, MoEngageWSGIMiddleware):
            await app.runtime.outbox.flush()
        return (clock() - started) / count * 1e6

    return measure
