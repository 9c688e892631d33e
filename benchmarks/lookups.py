"""The route table: does a lookup cost more in a table of 500 than in one of 5?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

from moe_middleware.routes.routes import RouteTable
from moe_middleware.settings.settings import Route

from .effort import Effort
from .ratios import Comparison, Measure, compare

SHAPES = (
    "/section-{n}",
    "/section-{n}/{{sku}}",
    "/section-{n}/{{id:int}}/edit",
    "/docs-{n}/{{rest:path}}",
    "/p{n}-{{slug}}.html",
)
PATHS = {
    "a fixed path": "/section-0",
    "a parameter": "/section-0/red-shoe",
    "the rest of a path": "/docs-0/a/b/c",
    "no match": "/about/us",
}
LOOKUPS = 20_000
ROUNDS = 9


async def lookups(directory: Path, effort: Effort) -> AsyncIterator[Comparison]:
    """Compare 500 routes (ours) with 5 (the rival); no file is left anywhere."""
    small, large = _table(5), _table(500)
    for name, path in PATHS.items():
        yield await compare(
            f"route lookup, 500 routes beside 5: {name}",
            ours=_lookup(large, path, effort.amount(LOOKUPS)),
            rival=_lookup(small, path, effort.amount(LOOKUPS)),
            unit="ns CPU",
            goal="<= 1.3",
            rounds=effort.rounds_of(ROUNDS),
        )


def _table(size: int) -> RouteTable:
    return RouteTable(
        Route(
            path=SHAPES[index % len(SHAPES)].format(n=index // len(SHAPES)),
            experiences=("homepage-banner",),
        )
        for index in range(size)
    )


def _lookup(table: RouteTable, path: str, lookups: int) -> Measure:
    async def measure() -> float:
        match = table.match
        started = time.thread_time()
        for _ in range(lookups):
            match("GET", path, "shop.example")
        return (time.thread_time() - started) / lookups * 1e9

    return measure
