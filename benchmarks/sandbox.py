"""The sandbox under load: fetches and events with wrk, and reports of many events."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import httpx

from moe_middleware.sandbox import sample_workspace
from moe_middleware.sandbox.memory.stores import Store
from moe_middleware.sandbox.protocol.events import ACTIONS, Action, Element
from moe_middleware.sandbox.reports.reports import build_report

from .effort import Effort
from .machine import resident
from .peers.contract import CONTEXT
from .processes import Worker
from .ratios import Figure, Measure, Note, Row, compare
from .servers import SANDBOX_FILE, server
from .throughput import wrk, wrk_is_here

SECONDS = 3
ROUNDS = 5
CONNECTIONS = 8
CALLS = 100_000
"""What a server of a soak has taken before its memory is looked at again."""

FEW_CALLS = 25_000
"""The same where the sandbox is one part of the table among others."""

STORED = 1_000_000
FEW_STORED = 250_000
STORED_CUSTOMERS = 200_000
STORED_DAYS = 90
BATCH = 2_000
LOOKS = 9
PAGES = {
    "overview page": "/",
    "experience page": "/experiences/homepage-banner",
    "/_sandbox/report": "/_sandbox/report",
    "/_sandbox/report.csv": "/_sandbox/report.csv",
}

FETCH = """\
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["moe-appkey"] = "sandbox"
wrk.headers["authorization"] = "Basic c2FuZGJveDpzYW5kYm94LWtleQ=="
wrk.body = '{"identifiers": {"customer_id": "alice"}, ' ..
  '"experience_key": ["homepage-banner"]}'
"""
# Every event is of its own: one in five is a click, of one in 5,000 customers.
REPORT = (
    FETCH
    + """\
local number = 0
request = function()
  number = number + 1
  local clicked = number %% 5 == 0
  local variation = number %% 2 + 1
  return wrk.format("POST", nil, nil, string.format([[{"elements": [{
    "customer_id": "customer-%%d", "actions": [{
      "action": "MOE_PERSONALIZATION_MESSAGE_%%s",
      "moe_event_uuid": "%%08x-0000-4000-8000-%%012x",
      "event_time": %(now)d, "platform": "web", "attributes": {
        "cid": "%(token)s_F_T_WP_AB_%%d_P_0_AU_2B", "experience": "Homepage banner",
        "moe_locale_id": "0", "moe_variation_id": "%%d", "audience_name": "All Users",
        "audience_id": "2B", "type": "Web Personalization"%%s}}]}]}]],
    number %% 5000, clicked and "CLICKED" or "SHOWN", %(round)d, number,
    variation, variation, clicked and ', "b_id": "Buy"' or ""))
end
"""
)


async def sandbox(
    directory: Path,
    effort: Effort,
    *,
    calls: int = FEW_CALLS,
    stored: int = FEW_STORED,
) -> AsyncIterator[Row]:
    """Measure fetches and events a second, which needs wrk, then a full store."""
    if wrk_is_here():
        async for row in _under_load(directory, effort, calls):
            yield row
    else:
        yield Note(text="fetches and events a second are left out: no wrk on the PATH")
    async for row in _many_events(directory, effort, stored):
        yield row


sandbox_soak = partial(sandbox, calls=CALLS, stored=STORED)
"""The same over so many calls that a leak would show."""


# --- with wrk --------------------------------------------------------------------


async def _under_load(
    directory: Path, effort: Effort, usual_calls: int
) -> AsyncIterator[Row]:
    calls = effort.amount(usual_calls)
    script = directory / "fetch.lua"
    script.write_text(FETCH)
    with server("json", directory) as bare, server("sandbox", directory) as ours:
        yield await compare(
            f"sandbox fetch, {CONNECTIONS} connections, beside a bare JSON route",
            ours=_fetching(ours, script),
            rival=_fetching(bare, script),
            unit="fetch/s",
            goal=">= 0.5",
            rounds=effort.rounds_of(ROUNDS),
        )
        before, taken = _resident(ours), 0
        while taken < calls:
            taken += (await _wrk(ours, "fetch", script))[0]
        text = f"{before:.0f} MB before, {_resident(ours):.0f} MB after {taken:,} more"
        yield Figure(what="  its memory", text=text, goal="flat")
    for name, what in (("sandbox", "in memory"), ("sandbox-file", "in a file")):
        with server(name, directory) as ours:
            async for row in _taking_events(ours, what, directory, calls):
                yield row


def _fetching(server: Worker, script: Path) -> Measure:
    async def measure() -> float:
        return (await _wrk(server, "fetch", script))[1]

    return measure


async def _taking_events(
    server: Worker, what: str, directory: Path, calls: int
) -> AsyncIterator[Figure]:
    """Take so many events and so many again: only the second half may not grow."""
    rates: list[float] = []
    sizes = [_resident(server)]
    sent = round_number = 0
    for half in (1, 2):
        while sent < half * calls:
            round_number += 1
            script = directory / f"events-{round_number}.lua"
            values = {"round": round_number, "now": time.time(), "token": _TOKEN}
            script.write_text(REPORT % values)
            count, rate = await _wrk(server, "events", script)
            sent += count
            rates.append(rate)
        sizes.append(_resident(server))
    counted = await _counted(server)
    # Calls that were on their way when wrk stopped count, but not for wrk.
    if not sent <= counted <= sent + CONNECTIONS * round_number:
        raise RuntimeError(f"{counted} events counted of {sent}")
    yield Figure(
        what=f"sandbox events, {CONNECTIONS} connections, {what}",
        text=f"{median(rates):.0f} events/s",
        goal="no error",
    )
    yield Figure(
        what=f"  its memory, after {sent // 2:,} and {sent:,} events",
        text=f"{sizes[0]:.0f} MB before, {sizes[1]:.0f} MB, {sizes[2]:.0f} MB",
        goal="flat",
    )


async def _wrk(server: Worker, endpoint: str, script: Path) -> tuple[int, float]:
    """Return how many calls were answered, and how many a second."""
    url = f"{server.url}/v1/experiences/{endpoint}"
    return await wrk(url, script, connections=CONNECTIONS, seconds=SECONDS)


async def _counted(server: Worker) -> int:
    async with _client(server) as client:
        report = (await client.get("/_sandbox/report")).json()
    return int(report["impressions"] + report["clicks"])


def _resident(server: Worker) -> float:
    """Return how much memory a server holds, in megabytes."""
    return resident(server.process.pid) / 2**20


# --- with many events ------------------------------------------------------------

_WORKSPACE = sample_workspace()
_TOKEN = _WORKSPACE.experiences[0].cid_token


async def _many_events(
    directory: Path, effort: Effort, usual: int
) -> AsyncIterator[Figure]:
    stored = effort.amount(usual)
    path = directory / "many" / SANDBOX_FILE
    path.parent.mkdir()
    store = Store(str(path), _WORKSPACE)
    started = time.perf_counter()
    for batch in _batches(stored):
        store.record(batch, time.time())
    seconds = time.perf_counter() - started
    times = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        build_report(store, _WORKSPACE, now=time.time())
        times.append(time.perf_counter() - started)
    store.close()
    size = path.stat().st_size / stored
    yield Figure(
        what=f"{stored:,} events stored, in calls of {BATCH:,}",
        text=f"{seconds / stored * 1e6:.0f} us, {size:.0f} bytes for each",
    )
    yield _answering("  the report alone, in process", times)
    with server("sandbox-file", path.parent) as ours:
        async with _client(ours) as client:
            for what, page in PAGES.items():
                yield _answering(
                    f"  {what}", [await _look(client, page) for _ in range(LOOKS)]
                )


def _answering(what: str, times: list[float]) -> Figure:
    first, rest = times[0] * 1e3, sorted(times[1:])
    return Figure(
        what=what,
        text=f"{first:.0f} ms at first, then {median(rest) * 1e3:.0f}, at most "
        f"{rest[-1] * 1e3:.0f} ms",
        goal="<= 300 ms",
        value=rest[-1] * 1e3,
    )


async def _look(client: httpx.AsyncClient, page: str) -> float:
    started = time.perf_counter()
    response = await client.get(page)
    response.raise_for_status()
    return time.perf_counter() - started


def _client(server: Worker) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"accept": "text/html"},
        timeout=30,
        trust_env=False,
    )


def _batches(stored: int) -> Iterator[list[Element]]:
    """Yield events of all experiences and of the last three months, one in six clicks.

    Like visitors', the times are not in order, and many customers come again.
    """
    draw = random.Random(7)
    now = int(time.time())
    for start in range(0, stored, BATCH):
        yield [
            _element(draw, str(number), now)
            for number in range(start, min(start + BATCH, stored))
        ]


def _element(draw: random.Random, uuid: str, now: int) -> Element:
    experience = draw.choice(_WORKSPACE.experiences)
    audience = draw.choice(experience.audiences)
    variation_id = draw.choice(audience.variations).variation_id
    clicked = draw.random() < 1 / 6
    action = Action(
        action=ACTIONS[clicked],
        uuid=f"{draw.getrandbits(64):016x}-{uuid}",
        event_time=now - draw.randrange(STORED_DAYS * 86_400),
        platform="web",
        attributes={
            **CONTEXT,
            "cid": f"{experience.cid_token}_F_T_WP_AB_{variation_id}_P_0_AU_"
            f"{audience.audience_id}",
            "experience": experience.name,
            "moe_variation_id": variation_id,
            "audience_name": audience.audience_id,
            "audience_id": audience.audience_id,
        },
        b_id=draw.choice(("Buy", "More", "Close")) if clicked else None,
    )
    return Element(
        customer_id=f"customer-{draw.randrange(STORED_CUSTOMERS)}",
        user_attributes={},
        user_timezone_offset=None,
        actions=(action,),
    )
