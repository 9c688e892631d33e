"""What clicks and sight cost the server, and what they add to a page; in process."""

from __future__ import annotations

import itertools
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Scope

from moe_middleware import MoEngageMiddleware

from .effort import Effort
from .in_process import page_cost
from .ratios import NO_GOAL, Comparison, Figure, Measure, Note, Row, measure_in_turns
from .scripts_browser import scripts_browser
from .scripts_site import (
    ATTRS,
    CLICK_URL,
    FEATURES,
    IMPRESSION,
    SCRIPT,
    TAG,
    WEB_SDK,
    bare_site,
    elements,
    scripts_site,
)
from .shop import WARM_VISITORS, fill_cache, request_scope

LIMIT = "<= 2,047 bytes"
"""Of the script that counts, as it is served: under 2 KB."""

PAGES = 150
REQUESTS = 40
MANY_SIGNALS = 50
ROUNDS = 25

BARE = "the bare page"
FRESH = 1_000_000
"""The first of the visitors who come once: no visitor's rate is used up."""


async def scripts(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare the same page with and without each of them, here and in a browser."""
    for name, rows in (("pages", scripts_pages), ("browser", scripts_browser)):
        folder = directory / name
        folder.mkdir()
        async for row in rows(folder, effort):
            yield row


async def scripts_pages(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Tell sizes, then the CPU of a page with each feature and of our own paths."""
    site = scripts_site(directory)
    await fill_cache(site, WARM_VISITORS)
    async for row in _sizes(site):
        yield row
    async for row in _costs(site, effort):
        yield row
    await site.runtime.stop()


# --- sizes --------------------------------------------------------------------


async def _sizes(site: MoEngageMiddleware) -> AsyncIterator[Row]:
    plain = await _ask(site, TAG, 1)
    pages = {path: await _ask(site, path, 1) for path in FEATURES}
    for path, name, goal in (
        (SCRIPT, "that counts", LIMIT),
        (WEB_SDK, "for the Web SDK", NO_GOAL),
    ):
        [script] = _SCRIPTS.findall(pages[path])
        served = await _ask(site, script, 1)
        yield Figure(
            what=f"the script {name}, as it is served",
            text=f"{len(served):,} bytes, {_packed(served):,} gzipped",
            goal=goal,
            value=len(served),
        )
    for path, added in FEATURES.items():
        more = len(pages[path]) - len(plain)
        packed = _packed(pages[path]) - _packed(plain)
        yield Comparison(
            what=f"with {added}: {more:,} more, {packed:,} gzipped",
            unit="bytes",
            ours=[len(pages[path])],
            rival=[len(plain)],
        )


_SCRIPTS = re.compile(r'<script[^>]* src="([^"]+)"')


def _packed(text: str) -> int:
    return len(zlib.compress(text.encode(), 9, wbits=31))


# --- what a page and an own path cost -----------------------------------------


async def _costs(site: MoEngageMiddleware, effort: Effort) -> AsyncIterator[Row]:
    pages, requests = effort.amount(PAGES), effort.amount(REQUESTS)
    visitors = itertools.count(FRESH)
    paths = {
        "a click link followed": _OwnPath(site, visitors, requests, _click),
        "a beacon with a click": _OwnPath(site, visitors, requests, _beacon),
        f"a beacon with {MANY_SIGNALS} signals": _OwnPath(
            site, visitors, max(1, requests // 10), _full_beacon
        ),
        "the script itself": _OwnPath(site, visitors, requests, _script),
    }
    figures = await measure_in_turns(
        {
            BARE: _pages(bare_site(), TAG, pages),
            **{
                path: _pages(site, path, pages) for path in (TAG, IMPRESSION, *FEATURES)
            },
            **{name: path.measure for name, path in paths.items()},
        },
        effort.rounds_of(ROUNDS),
    )

    def row(name: str, path: str, rival: str) -> Comparison:
        ours, others = figures[path], figures[rival]
        more = median(one - other for one, other in zip(ours, others, strict=True))
        what = f"{name}: {more:.1f} us more" if path.startswith("/") else name
        return Comparison(what=what, unit="us CPU", ours=ours, rival=others)

    yield row("a page with the tag, beside the bare one", TAG, BARE)
    yield Note(text="from here on beside the page with the tag alone")
    yield row("  with its impression", IMPRESSION, TAG)
    for path, added in FEATURES.items():
        yield row(f"  with {added}", path, TAG)
    for name in paths:
        yield row(name, name, TAG)
    counted = (await site.runtime.outbox.count()).waiting
    wanted = sum(path.events for path in paths.values())
    if counted < wanted:
        raise RuntimeError(f"{counted} events recorded of {wanted} sent")


def _pages(app: ASGIApp, path: str, pages: int) -> Measure:
    scopes = [request_scope(path, customer) for customer in range(WARM_VISITORS)]
    return page_cost(app, scopes, pages)


class _Request(NamedTuple):
    """What a browser sends once it has a page.

    Attributes:
        scope: The request.
        status: What it is to be answered with.
        body: The request's own.
        events: How many events it tells of.
    """

    scope: Scope
    status: int
    body: bytes = b""
    events: int = 0


@dataclass(slots=True)
class _OwnPath:
    """Measures requests for one of our own paths.

    Attributes:
        site: Who answers.
        visitors: Numbers of visitors, each for one request.
        requests: Of one round.
        make: Visits a page, and returns what its browser sends then.
        events: How many events were reported.
    """

    site: MoEngageMiddleware
    visitors: itertools.count[int]
    requests: int
    make: Callable[[MoEngageMiddleware, int], Awaitable[_Request]]
    events: int = 0

    async def measure(self) -> float:
        """Return what one costs, in microseconds of CPU."""
        sent = [
            await self.make(self.site, next(self.visitors))
            for _ in range(self.requests)
        ]
        await self.site.runtime.outbox.flush()
        started = time.process_time()
        answers = [await _send(self.site, one.scope, one.body) for one in sent]
        taken = time.process_time() - started
        # The figure is that of requests which were taken.
        if [status for status, _ in answers] != [one.status for one in sent]:
            raise RuntimeError(f"{sent[0].scope['path']}: answered {answers[0]}")
        self.events += sum(one.events for one in sent)
        return taken / self.requests * 1e6


async def _click(site: MoEngageMiddleware, visitor: int) -> _Request:
    page = await _ask(site, CLICK_URL, visitor)
    [path] = re.findall(r'href="(/_moe/c/[^"]+)"', page)
    return _Request(request_scope(path, visitor), 302, events=1)


async def _beacon(site: MoEngageMiddleware, visitor: int) -> _Request:
    page = await _ask(site, ATTRS, visitor)
    [token] = _TOKENS.findall(page)
    return _Request(_post(visitor), 204, f"c {token} 1".encode(), events=1)


async def _full_beacon(site: MoEngageMiddleware, visitor: int) -> _Request:
    path = elements("marked", MANY_SIGNALS)
    tokens = _TOKENS.findall(await _ask(site, path, visitor))
    lines = [f"c {token} {number}" for number, token in enumerate(tokens)]
    return _Request(_post(visitor), 204, "\n".join(lines).encode(), events=len(lines))


async def _script(site: MoEngageMiddleware, visitor: int) -> _Request:
    page = await _ask(site, SCRIPT, visitor)
    [path] = _SCRIPTS.findall(page)
    return _Request(request_scope(path, visitor), 200)


_TOKENS = re.compile(r'data-moe="([^"]+)"')


def _post(visitor: int) -> dict[str, Any]:
    scope = request_scope("/_moe/e", visitor)
    headers = [*scope["headers"], (b"sec-fetch-site", b"same-origin")]
    return {**scope, "method": "POST", "headers": headers}


async def _ask(site: MoEngageMiddleware, path: str, visitor: int) -> str:
    status, body = await _send(site, request_scope(path, visitor))
    if status != 200:
        raise RuntimeError(f"{path} answers with {status}")
    return body


async def _send(app: ASGIApp, scope: Scope, body: bytes = b"") -> tuple[int, str]:
    status, pieces = 0, list[bytes]()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            pieces.append(message.get("body", b""))

    await app({**scope, "state": {}}, receive, send)
    return status, b"".join(pieces).decode()
