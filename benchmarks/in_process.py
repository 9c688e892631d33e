"""One request's CPU time, without a server: the wrapped shop beside the bare one."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware

from .effort import FULL, Effort
from .ratios import NO_GOAL, Comparison, Measure, compare
from .shop import (
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


async def in_process(
    directory: Path, effort: Effort = FULL
) -> AsyncIterator[Comparison]:
    """Compare an unmapped path and a mapped, cached page with the bare shop."""
    bare, ours = bare_shop(), our_shop(directory)
    requests, pages = effort.amount(UNMAPPED_REQUESTS), effort.amount(PAGE_REQUESTS)
    rounds = effort.rounds_of(ROUNDS)
    await fill_cache(ours, WARM_VISITORS)
    yield await compare(
        "unmapped path, in process, beside the bare app",
        ours=_unmapped(ours, requests),
        rival=_unmapped(bare, requests),
        unit="us CPU",
        goal="<= 1.05",
        rounds=rounds,
    )
    yield await compare(
        "  for company: Starlette's SessionMiddleware",
        ours=_unmapped(SessionMiddleware(bare, secret_key="bench"), requests),
        rival=_unmapped(bare, requests),
        unit="us CPU",
        goal=NO_GOAL,
        rounds=rounds,
    )
    comparison = await compare(
        "cached page, 2 tags, 2 impressions, in process",
        ours=_pages(ours, pages),
        rival=_pages(bare, pages),
        unit="us CPU",
        goal="<= 20 us more",
        rounds=rounds,
    )
    await _check_recorded(ours, pages)
    await ours.runtime.stop()
    yield comparison


def _unmapped(app: ASGIApp, requests: int) -> Measure:
    scope = request_scope("/unmapped", 1)

    async def measure() -> float:
        started = time.process_time()
        for _ in range(requests):
            await visit(app, scope)
        return (time.process_time() - started) / requests * 1e6

    return measure


def _pages(app: ASGIApp, pages: int) -> Measure:
    scopes = [request_scope("/", customer) for customer in range(WARM_VISITORS)]

    async def measure() -> float:
        # Of all threads: the one that commits the impressions counts as well.
        started = time.process_time()
        for scope in itertools.islice(itertools.cycle(scopes), pages):
            await visit(app, scope)
        if isinstance(app, MoEngageMiddleware):
            await app.runtime.outbox.flush()
        return (time.process_time() - started) / pages * 1e6

    return measure


async def _check_recorded(ours: MoEngageMiddleware, pages: int) -> None:
    """See that the figure is that of recorded impressions, two for each page."""
    recorded = (await ours.runtime.outbox.count()).waiting
    rounds, left = divmod(recorded - 2 * WARM_VISITORS, 2 * pages)
    if left or not rounds:
        raise RuntimeError(f"{recorded} impressions recorded: not two for each page")
