"""What we add to a request's CPU time without a server, in bare text responses.

The unit is what one bare Starlette text response costs in the same round, so that a
busy or a slow machine changes little.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import sentry_sdk
from asgi_correlation_id import CorrelationIdMiddleware
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.transport import Transport
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp, Scope

from moe_middleware import MoEngageMiddleware

from .effort import Effort
from .ratios import NO_GOAL, Figure, Measure, Row, measure_in_turns, spread
from .shop import (
    MANY_VISITORS,
    WARM_VISITORS,
    bare_shop,
    fill_cache,
    our_shop,
    request_scope,
    visit,
)

UNMAPPED_REQUESTS = 3_000
PAGE_REQUESTS = 500
ROUNDS = 9

TEXT, BARE = "text", "bare page"
SECRET = "a secret of the bench alone"
CONSENT = {"given_by": {"cookie": "consent"}}

UNMAPPED = {
    "unmapped path": "<= 0.35",
    "  for company: Starlette's SessionMiddleware": NO_GOAL,
    "  for company: Starlette's CORSMiddleware": NO_GOAL,
    "  for company: asgi-correlation-id": NO_GOAL,
    "  for company: Sentry's ASGI middleware": NO_GOAL,
}
GOALS = {
    **UNMAPPED,
    "cached page, 2 tags, 2 impressions, one visitor": "<= 4.5",
    f"  by {MANY_VISITORS:,} visitors in turn": "<= 5.0",
    "  by anonymous visitors": "<= 5.5",
    "  with a secret_key and consent": "<= 6.0",
}


async def in_process(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare unmapped paths and mapped, cached pages with the bare shop's."""
    bare = bare_shop()
    shops = {
        "one": our_shop(directory / "one"),
        "anonymous": our_shop(directory / "anonymous", identity={}),
        "consent": our_shop(directory / "consent", secret_key=SECRET, consent=CONSENT),
    }
    visitors = effort.amount(MANY_VISITORS)
    one, many = (
        [_page("customer_id=customer-one")],
        _pages(visitors, "customer_id=customer-{}"),
    )
    anonymous = _pages(WARM_VISITORS, "moe_visitor={:08x}-0000-4000-8000-000000000000")
    consenting = _pages(WARM_VISITORS, "consent=yes; customer_id=customer-{}")
    for app, scopes in zip(
        shops.values(), ([*one, *many], anonymous, consenting), strict=True
    ):
        await fill_cache(app, 1)
        for scope in scopes:
            await visit(app, scope)
    requests, pages = effort.amount(UNMAPPED_REQUESTS), effort.amount(PAGE_REQUESTS)
    unmapped = [request_scope("/unmapped", 1)]
    costs: dict[str, Measure] = {
        TEXT: page_cost(bare, unmapped, requests),
        BARE: page_cost(bare, one, pages),
    }
    apps: Sequence[tuple[ASGIApp, Sequence[Scope], int]] = (
        (shops["one"], unmapped, requests),
        (SessionMiddleware(bare, secret_key="bench"), unmapped, requests),
        (CORSMiddleware(bare, allow_origins=["*"]), unmapped, requests),
        (CorrelationIdMiddleware(bare), unmapped, requests),
        (SentryAsgiMiddleware(bare), unmapped, requests),
        (shops["one"], one, pages),
        (shops["one"], many, pages),
        (shops["anonymous"], anonymous, pages),
        (shops["consent"], consenting, pages),
    )
    for what, measured in zip(GOALS, apps, strict=True):
        costs[what] = page_cost(*measured)
    recorded = await _recorded(shops["one"])
    with sentry():
        figures = await measure_in_turns(costs, effort.rounds_of(ROUNDS))
    rounds = len(figures[TEXT]) + 1
    if await _recorded(shops["one"]) - recorded != 2 * 2 * pages * rounds:
        raise RuntimeError("not two impressions recorded for each page")
    for app in shops.values():
        await app.runtime.stop()
    yield Figure(
        what="a bare text response, in process", text=spread(figures[TEXT], "us CPU")
    )
    for row in _rows(figures):
        yield row


def _rows(figures: Mapping[str, Sequence[float]]) -> Sequence[Row]:
    rows = []
    for what, goal in GOALS.items():
        beside = figures[TEXT if what in UNMAPPED else BARE]
        added = [
            (ours - theirs) / text
            for ours, theirs, text in zip(
                figures[what], beside, figures[TEXT], strict=True
            )
        ]
        text = f"adds {spread(added, 'of them')}"
        rows.append(Figure(what=what, text=text, goal=goal, value=median(added)))
    return rows


class _Nowhere(Transport):
    """Sends nothing."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Drop it."""


@contextmanager
def sentry() -> Iterator[None]:
    """Let Sentry's middlewares have a client; it sends nothing."""
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1", transport=_Nowhere, default_integrations=False
    )
    try:
        yield
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


def _page(cookie: str) -> dict[str, Any]:
    """Return a request for the page, with a cookie of its visitor's."""
    scope = request_scope("/", "")
    kept = [one for one in scope["headers"] if one[0] != b"cookie"]
    return {**scope, "headers": [*kept, (b"cookie", f"theme=dark; {cookie}".encode())]}


def _pages(visitors: int, cookie: str) -> list[dict[str, Any]]:
    return [_page(cookie.format(number)) for number in range(visitors)]


def page_cost(app: ASGIApp, scopes: Sequence[Scope], count: int) -> Measure:
    """Measure the CPU time of one request, in microseconds, impressions included."""

    async def measure() -> float:
        # Of all threads: the one that commits the impressions counts as well.
        started = time.process_time()
        for scope in itertools.islice(itertools.cycle(scopes), count):
            await visit(app, scope)
        if isinstance(app, MoEngageMiddleware):
            await app.runtime.outbox.flush()
        return (time.process_time() - started) / count * 1e6

    return measure


async def _recorded(ours: MoEngageMiddleware) -> int:
    """Return how many impressions wait, so that the figures are of recorded ones."""
    await ours.runtime.outbox.flush()
    return (await ours.runtime.outbox.count()).waiting
