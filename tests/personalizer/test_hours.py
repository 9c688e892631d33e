"""What visitors get of the last hour's answers when a new hour begins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from moe_middleware.sandbox import Sandbox

from ..redis_servers import RedisServer, redis_server
from ..sites import Clock, Site

KEY = "homepage-banner"
ELEVEN = datetime(2026, 3, 2, 11, tzinfo=UTC).timestamp()


class Hourly:
    """A site whose experience says in which hour it was fetched."""

    def __init__(self, sandbox: Sandbox, **sections: Any) -> None:
        self.sandbox = sandbox
        self.clock, self.stopwatch = Clock(ELEVEN), Clock(ELEVEN)
        self.site = Site(_text, clock=self.clock, stopwatch=self.stopwatch, **sections)
        self.fetched = 0

    async def at(self, second: float, path: str = "/", customer: str = "alice") -> str:
        """Return a page of so many seconds after eleven: its source and its text.

        A fetch in the background has ended then; ``fetched`` counts all since the last
        page.
        """
        self.clock.now = self.stopwatch.now = ELEVEN + second
        text = "ten" if second < 0 else "eleven"
        self.sandbox.define(KEY, {"Title": text})
        before = self.calls()
        page = await self.site.get(path, customer=customer)
        running = [one for one in asyncio.all_tasks() if _is_a_fetch(one)]
        if running:
            await asyncio.wait(running)
        self.fetched = self.calls() - before
        return page.text

    def calls(self) -> int:
        return sum(
            int(count)
            for name, count in self.site.runtime.counters.snapshot().items()
            if name.startswith("calls.fetch.")
        )


def _is_a_fetch(task: asyncio.Task[Any]) -> bool:
    return "Fetcher" in getattr(task.get_coro(), "__qualname__", "")


async def _text(request: Request) -> Response:
    one = request.state.experiences[KEY]
    return PlainTextResponse(f"{one.source} {one.reason} {one.get('Title')}")


async def test_an_answer_of_the_last_hour_stands_in_until_its_ttl_is_over(
    sandbox: Sandbox,
) -> None:
    site = Hourly(sandbox, cache={"ttl": 60, "stale": 600})
    pages = []
    for second in (-10, 5, 49, 51, 52):
        pages.append((await site.at(second), site.fetched))

    assert pages == [
        ("api None ten", 1),
        ("stale revalidating ten", 0),
        ("stale revalidating ten", 0),
        ("stale revalidating ten", 1),
        ("cache None eleven", 0),
    ]


@pytest.mark.parametrize(
    ("ttl", "stale", "second"),
    [
        # Nothing may be old.
        (60, 0, 0.5),
        # The seconds count from the hour, however long the ttl is.
        (900, 100, 101),
        # Its own time is over, too.
        (30, 60, 81),
        # The answer is two hours old.
        (60, 7_200, 3_605),
    ],
)
async def test_no_answer_is_served_longer_than_stale_allows(
    sandbox: Sandbox, ttl: float, stale: float, second: float
) -> None:
    site = Hourly(sandbox, cache={"ttl": ttl, "stale": stale})
    await site.at(-10)

    assert await site.at(second) == "api None eleven"


async def test_with_a_long_ttl_visitors_take_turns_within_stale(
    sandbox: Sandbox,
) -> None:
    site = Hourly(sandbox, cache={"ttl": 3_000, "stale": 100})
    visitors = [f"customer-{number}" for number in range(60)]
    for one in visitors:
        await site.at(-10, customer=one)

    fetches = []
    for second in (10, 35, 60, 99.9):
        fetches.append(0)
        for one in visitors:
            page = await site.at(second, customer=one)
            assert page in ("stale revalidating ten", "cache None eleven")
            fetches[-1] += site.fetched

    assert sum(fetches) == len(visitors)
    assert all(0 < one < 35 for one in fetches)


@pytest.mark.parametrize(
    "vary", [["utm_medium"], ["utm_medium", "TIME_OF_THE_DAY", "USER_AGENT"]]
)
async def test_what_differs_within_an_hour_differs_across_it(
    sandbox: Sandbox, vary: list[str]
) -> None:
    attributes = {"utm_medium": {"query": "utm_medium"}}
    cache = {"ttl": 60, "stale": 600, "vary": vary}
    site = Hourly(sandbox, attributes=attributes, cache=cache)
    await site.at(-10, "/?utm_medium=mail")

    assert await site.at(5, "/?utm_medium=web") == "api None eleven"
    assert await site.at(5, customer="bob") == "api None eleven"
    assert await site.at(5, "/?utm_medium=mail") == "stale revalidating ten"


async def test_an_hour_that_begins_in_an_outage_changes_nothing(
    sandbox: Sandbox,
) -> None:
    site = Hourly(sandbox, cache={"ttl": 60, "stale": 600})
    await site.at(-30)
    sandbox.fault(path="fetch", status=500, times=100)

    assert await site.at(5) == "stale revalidating ten"
    assert await site.at(100) == "stale revalidating ten"
    assert (await site.at(601)).startswith("fallback")


@pytest.fixture(scope="module")
def redis_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(Path(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.mark.parametrize(
    ("second", "fetched"),
    [(5, 0), pytest.param(99.9, 1, id="in turn")],
)
async def test_an_answer_of_another_process_stands_in(
    sandbox: Sandbox, redis_of_all: RedisServer, second: float, fetched: int
) -> None:
    shared = {"redis": redis_of_all.url, "redis_timeout": 2}
    cache = {"ttl": 3_000, "stale": 100, **shared}
    # Settings that differ have a runtime of their own, as processes have.
    first, other = (
        Hourly(sandbox, cache=cache, events={"outbox": "memory:", "max_events": most})
        for most in (1_000, 1_001)
    )
    customer = f"customer-{second}"
    await first.at(-10, customer=customer)
    shared_cache = first.site.runtime.personalizer.shared_cache
    assert shared_cache is not None
    await shared_cache.settle()

    pages = [(await other.at(second, customer=customer), other.fetched)]
    pages.append((await other.at(second, customer=customer), other.fetched))

    assert pages[0] == ("stale revalidating ten", fetched)
    later = "cache None eleven" if fetched else "stale revalidating ten"
    assert pages[1] == (later, 0)
