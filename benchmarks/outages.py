"""Every fault of the API, its name server and the shared cache, under a real server.

``python -m benchmarks outages`` serves a small site by uvicorn, visits it while
something is wrong, and once more while nothing is: `docs/explanation/outages.md`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType

from moe_middleware.personalizer.fetcher import REFUSED_FOR
from tests.end_to_end.visits import Browser, Visited, browsing
from tests.misbehaving import API, RESET_AFTER, Authority, Fault, misbehaving
from tests.redis_servers import RedisServer, redis_server
from tests.servers import free_port, running

from .effort import Effort
from .machine import machine
from .ratios import Figure, Note, Row

BUDGET = 0.3
"""Of a page, in seconds: the default."""

LASTS = 4.0
"""How long a fault lasts, in seconds."""

KNOWN = 4
"""Visitors who were there before."""

TTL = 0.2
"""How long answers are fresh, in seconds: short, so that known visitors' expire."""

PATIENCE = 60.0
"""How long to wait for the recovery, in seconds."""

REPORT = Path(__file__).parent.parent / "docs" / "explanation" / "outages.md"

CONFIG = """
workspace: {{id: W, api_key: K}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: "/", experiences: [hero]}}]
fetch: {{timeout: {budget}}}
cache: {{ttl: {ttl}, stale: 600{shared}}}
metadata: {{interval: 0}}
budget: {{calls_per_minute: 1000000}}
events: {{outbox: "memory:", relay: "off"}}
"""

Change = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class _Run:
    """What one run saw.

    Attributes:
        fetched: Pages of new visitors for which a call was made.
        spared: Those for which none was, because the breaker was open.
        known: Pages of visitors whose answers have expired.
        added: What each spared page took longer than the plain page after it, in
            seconds.
        pages: Pages that wanted an experience while it lasted.
        calls: Fetches that the site made meanwhile.
        received: Requests that reached the API, further tries included.
        recovery: From the fault's end to the first new visitor with an answer, in
            seconds.
    """

    fetched: list[Visited] = field(default_factory=list)
    spared: list[Visited] = field(default_factory=list)
    known: list[Visited] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    pages: int = 0
    calls: int = 0
    received: int = 0
    recovery: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """Where one run plays.

    Attributes:
        browser: At the site.
        api: What the site asks.
        begin: Begins the fault.
        end: Ends it.
        known: Whether there are visitors before it.
        other: At another site of the same shared cache: the recovery is complete when
            it has what the first site fetched.
    """

    browser: Browser
    api: API
    begin: Change
    end: Change
    known: bool = True
    other: Browser | None = None


async def outages(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Measure every fault beside its control, and write the report of a whole run."""
    lines, load = [], os.getloadavg()[0]
    for number, (name, staged) in enumerate(_TROUBLES.items()):
        runs = []
        for faulty in (False, True):
            folder = directory / f"{number}-{faulty}"
            folder.mkdir()
            lasts = LASTS / 4 if effort.quick else LASTS if faulty else LASTS / 2
            async with staged(folder, faulty) as stage:
                runs.append(await _visited(stage, faulty, lasts))
        control, run = runs
        for row in _rows(name, run, control):
            yield row
        lines.append(_line(name, run, control))
    if not effort.quick:
        REPORT.write_text(_report(lines, load))
        yield Note(text=f"written to docs/explanation/{REPORT.name}")


# --- where one run plays ---------------------------------------------------------


@asynccontextmanager
async def _api(fault: Fault, folder: Path, _faulty: bool) -> AsyncIterator[_Stage]:
    authority = Authority() if fault in (Fault.UNTRUSTED, Fault.NO_TLS) else None
    environ = {}
    if authority is not None:
        (folder / "ca.pem").write_bytes(authority.certificate())
        environ["SSL_CERT_FILE"] = str(folder / "ca.pem")
    async with (
        misbehaving(authority=authority) as api,
        _serving(folder, api.url, environ) as browser,
    ):
        yield _Stage(
            browser=browser,
            api=api,
            begin=partial(api.behave, fault),
            end=partial(api.behave, Fault.NONE),
        )


@asynccontextmanager
async def _names(at_first: bool, folder: Path, faulty: bool) -> AsyncIterator[_Stage]:
    hangs = folder / "hangs"
    if at_first and faulty:
        hangs.touch()
    async with misbehaving() as api:
        url = f"http://api.test:{api.port}/v1"
        async with _serving(folder, url, {"HANGING_NAMES": str(hangs)}) as browser:
            yield _Stage(
                browser=browser,
                api=api,
                begin=partial(asyncio.to_thread, hangs.touch),
                end=partial(asyncio.to_thread, hangs.unlink),
                known=not (at_first and faulty),
            )


@asynccontextmanager
async def _redis(
    harm: Callable[[RedisServer], None],
    repair: Callable[[RedisServer], None],
    folder: Path,
    _faulty: bool,
) -> AsyncIterator[_Stage]:
    for name in ("one", "other"):
        (folder / name).mkdir()
    with redis_server(folder) as redis:
        async with (
            misbehaving() as api,
            _serving(folder / "one", api.url, redis=redis.url) as browser,
            _serving(folder / "other", api.url, redis=redis.url) as other,
        ):
            yield _Stage(
                browser=browser,
                api=api,
                begin=partial(asyncio.to_thread, harm, redis),
                end=partial(asyncio.to_thread, repair, redis),
                other=other,
            )


_TROUBLES: dict[str, Callable[[Path, bool], AbstractAsyncContextManager[_Stage]]] = {
    **{
        f"API {fault}": partial(_api, fault)
        for fault in Fault
        if fault is not Fault.NONE
    },
    "DNS hangs from the start": partial(_names, True),
    "DNS hangs later": partial(_names, False),
    "Redis hangs": partial(_redis, RedisServer.hang, RedisServer.resume),
    "Redis is killed": partial(_redis, RedisServer.kill, RedisServer.restart),
}


@asynccontextmanager
async def _serving(
    folder: Path,
    url: str,
    environ: Mapping[str, str] = MappingProxyType({}),
    redis: str | None = None,
) -> AsyncIterator[Browser]:
    """Serve the site by a uvicorn of its own until the block ends."""
    shared = f', redis: "{redis}"' if redis else ""
    (folder / "moe.yml").write_text(
        CONFIG.format(budget=BUDGET, ttl=TTL, shared=shared)
    )
    port = free_port()
    with running(
        *("-m", "uvicorn", "--factory", "--port", str(port)),
        *("--log-level", "error", "--timeout-keep-alive", "60"),
        "tests.end_to_end.counting_site:configured",
        port=port,
        log=folder / "site.log",
        environ={
            "MOE_CONFIG": str(folder / "moe.yml"),
            "MOE_BASE_URL": url,
            **environ,
        },
    ):
        async with browsing(port) as browser:
            yield browser


# --- one run ---------------------------------------------------------------------


async def _visited(stage: _Stage, faulty: bool, lasts: float) -> _Run:
    """Visit for so many seconds, with the fault or without, then until all is well."""
    run, browser, api = _Run(), stage.browser, stage.api
    for number in range(KNOWN if stage.known else 0):
        await _primed(browser, f"known-{number}")
    await browser.visit(path="/plain")
    await asyncio.sleep(TTL * 2)
    calls, received = await _calls(browser), api.heard
    if faulty:
        await stage.begin()
    until = time.monotonic() + lasts
    for number in itertools.count():
        if time.monotonic() > until:
            break
        page = await browser.visit(f"new-{number}")
        plain = await browser.visit(path="/plain")
        _sort(run, page, plain)
        run.pages += 1
        if stage.known:
            page = await browser.visit(f"known-{number % KNOWN}")
            run.known.append(page)
            run.pages += 1
    run.calls, run.received = await _calls(browser) - calls, api.heard - received
    if faulty:
        await stage.end()
    run.recovery = await _recovered(browser, stage.other)
    return run


async def _primed(browser: Browser, visitor: str) -> None:
    async with asyncio.timeout(PATIENCE):
        for pause in itertools.repeat(0.05):
            if (await browser.visit(visitor)).source != "fallback":
                return
            await asyncio.sleep(pause)


def _sort(run: _Run, page: Visited, plain: Visited) -> None:
    # After the first of these nothing is asked for a while: pages tell why.
    paused = page.reason in ("rate_limited", "unauthorized") and bool(run.fetched)
    spared = page.reason == "breaker_open" or paused
    if spared:
        run.spared.append(page)
        run.added.append(page.seconds - plain.seconds)
    else:
        run.fetched.append(page)


async def _calls(browser: Browser) -> int:
    counters = (await browser.counts())["counters"]
    return sum(n for name, n in counters.items() if name.startswith("calls.fetch."))


async def _recovered(browser: Browser, other: Browser | None) -> float:
    started = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        for number in range(1_000_000):
            visitor = f"after-{number}"
            page = await browser.visit(visitor)
            if other is not None:
                page = await other.visit(visitor)
            if page.source == ("api" if other is None else "cache"):
                break
            await asyncio.sleep(0.02)
    return time.monotonic() - started


# --- telling ---------------------------------------------------------------------


def _rows(name: str, run: _Run, control: _Run) -> Iterable[Row]:
    if run.fetched:
        over, slowest = (_p(run.fetched, share) - BUDGET for share in (50, 99))
        yield Figure(
            what=f"{name}: a page's time over its budget",
            text=f"{over * 1e3:.1f} ms, p99 {slowest * 1e3:.1f}, "
            f"of {len(run.fetched)}; {_answers(run.fetched)}",
            goal="<= 20 ms",
            value=over * 1e3,
        )
    if run.added:
        added = median(run.added) * 1e3
        yield Figure(
            what="  added while the breaker is open",
            text=f"{added:.2f} ms, the median of {len(run.spared)} pages",
            goal="<= 1 ms",
            value=added,
        )
    yield Note(
        text=f"known visitors {_latency(run.known)} {_answers(run.known)}; "
        f"{run.calls} calls; recovery {run.recovery:.2f} s; "
        f"without the fault {_latency(control.fetched)} {_answers(control.fetched)}"
    )


def _line(name: str, run: _Run, control: _Run) -> str:
    added = f", adds {median(run.added) * 1e3:.2f}" if run.added else ""
    cells = [
        name,
        _latency(run.fetched),
        _answers(run.fetched),
        f"{_latency(run.spared)}{added}" if run.spared else "-",
        _latency(run.known),
        _answers(run.known),
        f"{run.calls} ({run.received})",
        str(run.pages),
        f"{run.recovery:.2f}",
        f"{_latency(control.fetched)}, {_answers(control.fetched)}",
    ]
    return "| " + " | ".join(cells) + " |"


def _answers(pages: Sequence[Visited]) -> str:
    counts = Counter(page.answer for page in pages)
    if not counts:
        return "-"
    return ", ".join(
        answer if len(counts) == 1 else f"{answer} x{count}"
        for answer, count in counts.most_common(3)
    )


def _latency(pages: Sequence[Visited]) -> str:
    """Return ``p50 / p99`` in milliseconds."""
    if not pages:
        return "-"
    return f"{_p(pages, 50) * 1e3:.1f} / {_p(pages, 99) * 1e3:.1f}"


def _p(pages: Sequence[Visited], share: int) -> float:
    """Return the latency within which this share of the pages came, in seconds."""
    took = sorted(page.seconds for page in pages)
    if share == 50:
        return median(took)
    return took[min(len(took) - 1, len(took) * share // 100)]


def _report(lines: Sequence[str], load: float) -> str:
    facts = "\n".join(
        f"- {name}: {fact}" for name, fact in machine(load, {}) if name in _REPORTED
    )
    return TEXT.format(
        date=datetime.now(UTC).date(),
        lines="\n".join(lines),
        facts=facts,
        began=load,
        ended=os.getloadavg()[0],
        lasts=f"{LASTS:g}",
        budget=f"{BUDGET:g}",
        ttl=f"{TTL:g}",
        known=KNOWN,
        reset=RESET_AFTER,
        refused=f"{REFUSED_FOR:g}",
    )


_REPORTED = ("processor", "cores", "load when it began", "system", "Python", "ours")

TEXT = """\
# What a page does while something is wrong

Each line is a run of a small site under uvicorn, in a process of its own, over real
sockets. All is well at first: {known} visitors come and get their experience. Then the
fault begins and lasts {lasts} seconds, and pages are visited one after the other: by
new visitors, by those {known}, whose answers have expired
meanwhile, and an unmapped page. Then the fault ends. The last column is the
same run without the fault. The settings are the defaults (a budget of {budget} seconds,
3 tries), but answers are fresh for {ttl} seconds only, metadata is not looked at and
the budget of calls is out of the way.

In every line every page was served: a missing answer would have ended the run.

| what is wrong | new visitors, ms | answered | breaker open, ms | known visitors, ms \
| answered | calls | pages | recovery, s | without the fault, ms |
|---|---|---|---|---|---|---|---|---|---|
{lines}

- **new visitors**: p50 / p99 of the pages that waited for a call. A page waits for its
  budget at most; a fault that shows earlier ends the page earlier, after its 3 tries.
- **answered**: the source of the page's experience, and its reason: what
  `experiences["hero"].source` and `.reason` say. `fallback` is the template's `else`.
- **breaker open**: p50 / p99 of the new visitors' pages for which no call was made,
  because the last ones had failed, or a 429 had asked to wait (here for up to {reset}
  seconds), or the credentials had been refused; and how much longer they took than the
  page without a route that was visited right after each: the median.
- **known visitors**: p50 / p99 of the pages of visitors whose answers had expired. They
  get them at once, as `stale`, while a call in the background tries to refresh them.
- **calls**: fetches that the site made while the fault lasted, and in brackets the
  requests that reached the API: a fetch is sent up to 3 times, and without a
  listener none arrives.
- **pages**: pages that wanted an experience meanwhile.
- **recovery**: from the end of the fault to the first new visitor who got an answer
  of the API; for Redis, to the first answer that another site, on the same Redis, had
  from there. An open breaker pauses for 0.5 to 1 second before it lets one page probe,
  and doubles that with each probe that fails, up to 30 seconds: after an outage of
  hours the recovery takes up to half a minute.

Notes:

- The breaker opens when half of the calls of the last 10 seconds, and 5 at least, have
  failed, or 10 in a row, however good the time before them was. Until then each new
  visitor's page waits.
- After a 401 or a 403 nothing is asked for {refused} seconds: it requires a manual fix.
- A name's addresses are remembered for 10 minutes and looked up in the background, so
  DNS that fails later is not noticed. A lookup that hangs has a thread of its own, at
  most 4 of them: the app's own threads stay free.
- A shared cache that fails costs a page no more than `cache.redis_timeout`, and the API
  answers in its place.
- The visitor and the API are one process here: while that sends without end (50 MB,
  one-byte chunks) its own work is part of the pages' times.

Measured on {date} by `python -m benchmarks outages`; latencies hold for this machine.
Other programs that ran on it are in the p99s: see the column without the fault. Its
load was {began:.1f} when it began, and {ended:.1f} when it ended.

{facts}
"""
