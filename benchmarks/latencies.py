"""A page's latency while MoEngage is in trouble: before its breaker opens, and after.

No rival has a breaker, so the bare page stands beside it. ``outages`` has the whole
matrix of faults, under a real server.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware
from moe_middleware.models.reasons import Reason

from .effort import FULL, Effort
from .peers.contract import KEY
from .peers.ours import settings
from .ratios import Figure, Row, spread
from .shop import request_scope, visit
from .upstream import Upstream, upstream

BUDGET = 0.3
"""Of a page, in seconds: the default."""

FAULTS = ("never answers", "refuses connections", "sends 500s")
PAGES_AFTER = 200
MOST_BEFORE = 50
"""Pages within which the breaker must have opened."""


@dataclass(slots=True)
class _Latencies:
    """Seconds that pages took, by what they waited for."""

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)


async def latencies(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Visit the page with every fault in turn; every visitor is new."""
    pages = effort.amount(PAGES_AFTER)
    async with upstream(directory) as server:
        for fault in FAULTS:
            async with _in_trouble(server, fault) as url:
                took = await _visited(_site(url), pages)
            bare = (await _visited(_bare_site(), pages)).after
            over = [(seconds - BUDGET) * 1e3 for seconds in took.before]
            yield Figure(
                what=f"page's time over its budget, MoEngage {fault}",
                text=f"{spread(over, 'ms')} of {len(over)} pages",
                goal="<= 20 ms",
                value=max(over),
            )
            added = (median(took.after) - median(bare)) * 1e3
            slowest = max(took.after) * 1e3
            yield Figure(
                what="  added to the bare page once the breaker is open",
                text=f"{added:.3f} ms; the slowest of {pages} took {slowest:.2f} ms",
                goal="<= 1 ms",
                value=added,
            )


@asynccontextmanager
async def _in_trouble(server: Upstream, fault: str) -> AsyncIterator[str]:
    """Yield the address of an upstream with this fault."""
    if fault == "refuses connections":
        # Bound but not listening: nobody else can take the port meanwhile.
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{deaf.getsockname()[1]}"
        return
    await server.behave(
        silent=fault == "never answers", status=500 if fault == "sends 500s" else 200
    )
    yield server.url
    await server.behave()


async def _visited(app: ASGIApp, pages: int) -> _Latencies:
    """Visit until the breaker is open, then ``pages`` times more."""
    took = _Latencies()
    for visitor in range(MOST_BEFORE + pages):
        scope = request_scope("/", visitor)
        reasons.clear()
        began = time.perf_counter()
        await visit(app, scope)
        seconds = time.perf_counter() - began
        waited = reasons and reasons[-1] != Reason.BREAKER_OPEN
        (took.before if waited else took.after).append(seconds)
        if len(took.after) == pages:
            break
    else:
        raise RuntimeError("the breaker did not open")
    if isinstance(app, MoEngageMiddleware):
        await app.runtime.stop()
    return took


reasons: list[Reason | None] = []
"""Why the page under way has no experience, as its handler saw it."""


def _site(url: str) -> MoEngageMiddleware:
    async def page(request: Request) -> Response:
        reasons.append(request.state.experiences[KEY].reason)
        return PlainTextResponse("ok")

    return MoEngageMiddleware(
        Starlette(routes=[Route("/", page)]),
        config=settings(
            url,
            identity={"customer_id": {"cookie": "customer_id"}},
            routes=[{"path": "/", "experiences": [KEY]}],
            fetch={"timeout": BUDGET},
            events={"outbox": "memory:"},
        ),
    )


def _bare_site() -> ASGIApp:
    async def page(request: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", page)])
