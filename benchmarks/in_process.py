"""One request's CPU time, without a server: the wrapped shop beside the bare one."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware

from .ratios import Comparison, Measure, compare
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


async def in_process(directory: Path) -> AsyncIterator[Comparison]:
    """Compare an unmapped path and a mapped, cached page with the bare shop."""
    bare, ours = bare_shop(), our_shop(directory)
    await fill_cache(ours, WARM_VISITORS)
    yield await compare(
        "unmapped path, in process, beside the bare app",
        ours=_unmapped(ours),
        rival=_unmapped(bare),
        unit="us CPU",
        goal="<= 1.05",
    )
    yield await compare(
        "  for company: Starlette's SessionMiddleware",
        ours=_unmapped(SessionMiddleware(bare, secret_key="bench")),
        rival=_unmapped(bare),
        unit="us CPU",
        goal="(none)",
    )
    pages = await compare(
        "cached page, 2 tags, 2 impressions, in process",
        ours=_pages(ours),
        rival=_pages(bare),
        unit="us CPU",
        goal="<= 20 us more",
    )
    await _check_recorded(ours)
    await ours.runtime.stop()
    yield pages


def _unmapped(app: ASGIApp) -> Measure:
    scope = request_scope("/unmapped", 1)

    async def measure() -> float:
        started = time.process_time()
        for _ in range(UNMAPPED_REQUESTS):
            await visit(app, scope)
        return (time.process_time() - started) / UNMAPPED_REQUESTS * 1e6

    return measure


def _pages(app: ASGIApp) -> Measure:
    scopes = [request_scope("/", customer) for customer in range(WARM_VISITORS)]

    async def measure() -> float:
        # Of all threads: the one that commits the impressions counts as well.
        started = time.process_time()
        for scope in itertools.islice(itertools.cycle(scopes), PAGE_REQUESTS):
            await visit(app, scope)
        if isinstance(app, MoEngageMiddleware):
            await app.runtime.outbox.flush()
        return (time.process_time() - started) / PAGE_REQUESTS * 1e6

    return measure


async def _check_recorded(ours: MoEngageMiddleware) -> None:
    """See that the figure is that of recorded impressions, two for each page."""
    recorded = (await ours.runtime.outbox.count()).waiting
    rounds, left = divmod(recorded - 2 * WARM_VISITORS, 2 * PAGE_REQUESTS)
    if left or not rounds:
        raise RuntimeError(f"{recorded} impressions recorded: not two for each page")
