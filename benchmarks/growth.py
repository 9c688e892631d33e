"""What grows with the work: keys of a page, and events that wait."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from moe_middleware import MoEngageMiddleware, SQLiteOutbox

from .effort import Effort
from .in_process import page_cost
from .peers.ours import impressions, settings
from .ratios import NO_GOAL, Comparison, Figure, Measure, Row, compare, measure_in_turns
from .shop import bare_shop, request_scope, template
from .upstream import MANY_KEYS, upstream

PAGES = 300
TEXTS = 3_000
VISITORS = 20
WAITING = 1_000_000
APPENDED = 5_000
CLAIMED = 500
CLAIMS = 5
ROUNDS = 5
LEASE = 600.0
AT_ONCE = 1_000
"""Events of one ``append`` while the outbox is filled."""

UNSAVED = 50_000
"""How many of them may wait for the disk."""


async def growth(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Measure the same work on little and on much."""
    async for row in _keys(directory, effort):
        yield row
    async for row in _waiting(directory, effort):
        yield row


# --- keys of a page --------------------------------------------------------


async def _keys(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    with upstream(directory) as server:
        url = f"{server.url}/many"
        few, many = _site(url, 1), _site(url, len(MANY_KEYS))
        comparison = await compare(
            f"cached page with {len(MANY_KEYS)} keys and tags beside 1",
            ours=_visiting(many, effort.amount(PAGES)),
            rival=_visiting(few, effort.amount(PAGES)),
            unit="us CPU",
            goal=f"<= {len(MANY_KEYS)}",
            rounds=effort.rounds_of(ROUNDS),
        )
        for app in (few, many):
            await app.runtime.stop()
        text = _visiting(bare_shop(), TEXTS, "/unmapped")
        texts = [await text() for _ in comparison.ours]
    yield comparison
    more = median(comparison.ours) - median(comparison.rival)
    each = more / (len(MANY_KEYS) - 1)
    # Its unit is a bare text response, as in in_process.py.
    unit = median(texts)
    yield Figure(
        what="  one more key, its tag and impression included",
        text=f"{each:.1f} us CPU, {each / unit:.2f} bare text responses",
        goal="<= 0.35",
        value=each / unit,
    )


def _site(url: str, keys: int) -> MoEngageMiddleware:
    wanted = MANY_KEYS[:keys]
    tags = "".join(
        f'{{% experience "{key}" as one %}}<p>{{{{ one.Title }}}}</p>'
        "{% endexperience %}"
        for key in wanted
    )
    shown = template(tags)

    async def page(request: Request) -> Response:
        return HTMLResponse(shown.render())

    return MoEngageMiddleware(
        Starlette(routes=[Route("/", page)]),
        config=settings(
            url,
            identity={"customer_id": {"cookie": "customer_id"}},
            routes=[{"path": "/", "experiences": wanted}],
            fetch={"timeout": 5.0},
            cache={"ttl": 3600.0},
            events={"outbox": "memory:", "interval": 3600.0, "shutdown_timeout": 0.0},
        ),
    )


def _visiting(app: ASGIApp, pages: int, path: str = "/") -> Measure:
    scopes = [request_scope(path, visitor) for visitor in range(VISITORS)]
    return page_cost(app, scopes, pages)


# --- events that wait ------------------------------------------------------


async def _waiting(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    waiting, rounds = effort.amount(WAITING), effort.rounds_of(ROUNDS)
    full = SQLiteOutbox(str(directory / "full.db"))
    await _fill(full, waiting)
    # A full collection of all that is loaded takes tens of milliseconds where the
    # machine has put its memory away: none of it is the outbox's.
    gc.collect()
    gc.freeze()
    appends: list[float] = []
    pauses: list[float] = []
    fresh = itertools.count()

    async def append_to_a_new_file() -> float:
        outbox = SQLiteOutbox(str(directory / f"empty-{next(fresh)}.db"))
        await outbox.count()  # it makes its file now, not while it is measured
        seconds = await _append(outbox, effort.amount(APPENDED), [], [])
        outbox.close()
        return seconds

    appending = await measure_in_turns(
        {
            "full": lambda: _append(full, effort.amount(APPENDED), appends, pauses),
            "empty": append_to_a_new_file,
        },
        rounds,
    )
    yield Comparison(
        what=f"appending and committing, {waiting:,} waiting beside none",
        unit="us",
        ours=appending["full"],
        rival=appending["empty"],
        goal="<= 1.3",
    )
    small = SQLiteOutbox(str(directory / "small.db"))
    await _fill(small, effort.amount(CLAIMED * CLAIMS) * (rounds + 1))
    claiming = await measure_in_turns(
        {
            "full": lambda: _claim(full, effort.amount(CLAIMED * CLAIMS)),
            "small": lambda: _claim(small, effort.amount(CLAIMED * CLAIMS)),
        },
        rounds,
    )
    yield Comparison(
        what=f"claiming and acking, {waiting:,} waiting beside few",
        unit="us",
        ours=claiming["full"],
        rival=claiming["small"],
        goal="<= 1.3",
    )
    for what, steps, goal in (
        ("longest append on the event loop", appends, "<= 1 ms"),
        ("  longest step that does nothing, beside it", pauses, NO_GOAL),
    ):
        steps.sort()
        longest, most = steps[-1] * 1e3, steps[int(len(steps) * 0.999)] * 1e3
        yield Figure(
            what=f"{what}, {waiting:,} waiting",
            text=f"{longest:.3f} ms; 99.9 % within {most:.3f} ms",
            goal=goal,
            value=longest,
        )
    began = time.perf_counter()
    counts = await full.count()
    yield Figure(
        what=f"counting {counts.waiting:,} events, on the outbox's own thread",
        text=f"{(time.perf_counter() - began) * 1e3:.2f} ms",
    )
    full.close()
    small.close()
    gc.unfreeze()


async def _fill(outbox: SQLiteOutbox, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        outbox.append(impressions(min(AT_ONCE, count - start)))
        if start % UNSAVED == 0:
            await outbox.flush()
    await outbox.flush()


async def _append(
    outbox: SQLiteOutbox, count: int, appends: list[float], pauses: list[float]
) -> float:
    """Append one by one and wait for the disk; return the microseconds an event.

    Every append is timed, and so is a step beside it that does nothing: what makes
    that one long is the machine, or a thread that has the interpreter.
    """
    events, clock = impressions(count), time.perf_counter
    began = clock()
    for event in events:
        at = clock()
        outbox.append([event])
        appended = clock()
        appends.append(appended - at)
        pauses.append(clock() - appended)
    await outbox.flush()
    return (clock() - began) / count * 1e6


async def _claim(outbox: SQLiteOutbox, count: int) -> float:
    """Claim and ack so many; return the microseconds an event."""
    began = time.perf_counter()
    done = 0
    while done < count:
        claims = await outbox.claim(limit=min(CLAIMED, count), lease_for=LEASE)
        await outbox.ack([claim.id for claim in claims])
        done += len(claims)
        if not claims:
            raise RuntimeError("nothing was left to claim")
    return (time.perf_counter() - began) / done * 1e6
