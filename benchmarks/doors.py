"""What a request costs at each door, beside the bare app and the usual middleware."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2wsgi import ASGIMiddleware, WSGIMiddleware
from jinja2 import DictLoader, Environment
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware, Settings
from moe_middleware.concurrency.background_loop import background

from .effort import FULL, Effort
from .in_process import page_cost, sentry
from .ratios import NO_GOAL, Measure, Row, compare
from .shop import (
    BANNER,
    HEADERS,
    PAGE,
    PERSONAL,
    PLAIN,
    PRODUCTS,
    WARM_VISITORS,
    bare_shop,
    fill_cache,
    our_shop,
    request_scope,
    shop_settings,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNMAPPED_REQUESTS = 3_000
PAGE_REQUESTS = 500
ROUNDS = 9


async def doors(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Compare an unmapped path and a cached page, at the ASGI and the WSGI door."""
    async for row in _asgi(directory / "asgi", effort):
        yield row
    async for row in _wsgi(directory, effort):
        yield row


class _Base(BaseHTTPMiddleware):
    async def dispatch(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        return await call_next(request)


async def _asgi(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    ours, base = our_shop(directory), _Base(bare_shop())
    await fill_cache(ours, WARM_VISITORS)
    for path, what, goal in (
        ("/unmapped", "an unmapped path", "<= 1.0"),
        ("/", "a cached page", NO_GOAL),
    ):
        requests = effort.amount(UNMAPPED_REQUESTS)
        yield await compare(
            f"{what}, in process, beside an empty BaseHTTPMiddleware",
            ours=page_cost(ours, [request_scope(path, 1)], requests),
            rival=page_cost(base, [request_scope(path, 1)], requests),
            unit="us CPU",
            goal=goal,
            rounds=effort.rounds_of(ROUNDS),
        )
    await ours.runtime.stop()


async def _wsgi(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare an unmapped path and a cached page with the bare app's, and with a2wsgi.

    The rival of a page is the only other way to it: a2wsgi around the ASGI door around
    a2wsgi around the app.
    """
    bare = _shop(PLAIN, {"banner": BANNER, "strip": BANNER})
    routes = [{"path": "/", "experiences": ["homepage-banner", "promo-strip"]}]
    settings = shop_settings(directory, routes)
    ours = MoEngageWSGIMiddleware(_shop(PERSONAL, {}), config=settings)
    requests, pages = effort.amount(UNMAPPED_REQUESTS), effort.amount(PAGE_REQUESTS)
    rounds = effort.rounds_of(ROUNDS)
    for environ in _visitors():
        _visit(ours, environ)
    unmapped = {**next(iter(_visitors())), "PATH_INFO": "/unmapped"}
    yield await compare(
        "WSGI: unmapped path, beside the bare app",
        ours=_cpu(ours, [unmapped], requests),
        rival=_cpu(bare, [unmapped], requests),
        unit="us CPU",
        rounds=rounds,
    )
    with sentry():
        yield await compare(
            "  and Sentry's WSGI middleware, beside the bare app",
            ours=_cpu(SentryWsgiMiddleware(bare), [unmapped], requests),
            rival=_cpu(bare, [unmapped], requests),
            unit="us CPU",
            rounds=rounds,
        )
    yield await compare(
        "WSGI: cached page, 2 tags, 2 impressions, beside the bare app",
        ours=_cpu(ours, _visitors(), pages),
        rival=_cpu(bare, _visitors(), pages),
        unit="us CPU",
        goal="<= 20 us more",
        rounds=rounds,
    )
    bridged = _bridged(_shop(PERSONAL, {}), settings)
    for environ in _visitors():
        _visit(bridged, environ)
    yield await compare(
        "WSGI: cached page, beside a2wsgi and the ASGI door",
        ours=_wall(ours, _visitors(), pages),
        rival=_wall(bridged, _visitors(), pages),
        unit="us",
        goal="<= 0.8",
        rounds=rounds,
    )


def _bridged(app: WSGIApplication, settings: Settings) -> Any:
    given: Any = app
    inner: Any = WSGIMiddleware(given)
    outer: Any = MoEngageMiddleware(inner, config=settings)
    return ASGIMiddleware(outer, loop=background.loop)


def _shop(source: str, variables: dict[str, Any]) -> WSGIApplication:
    environment = Environment(
        loader=DictLoader({"page": PAGE, "shop": source}),
        autoescape=True,
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )
    template = environment.get_template("shop")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/unmapped":
            body = b"ok"
        else:
            body = template.render(products=PRODUCTS, **variables).encode()
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
    body = app({**environ}, _start_response)
    for _ in body:
        pass
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _start_response(*_: Any) -> Callable[[bytes], object]:
    return lambda _: None


def _cpu(app: WSGIApplication, environs: list[WSGIEnvironment], count: int) -> Measure:
    # Of all threads: the one that commits the impressions counts as well.
    return _timed(app, environs, count, time.process_time)


def _wall(app: WSGIApplication, environs: list[WSGIEnvironment], count: int) -> Measure:
    return _timed(app, environs, count, time.perf_counter)


def _timed(
    app: WSGIApplication,
    environs: list[WSGIEnvironment],
    count: int,
    clock: Callable[[], float],
) -> Measure:
    async def measure() -> float:
        started = clock()
        for environ in itertools.islice(itertools.cycle(environs), count):
            _visit(app, environ)
        if isinstance(app, MoEngageWSGIMiddleware):
            await app.runtime.outbox.flush()
        return (clock() - started) / count * 1e6

    return measure
