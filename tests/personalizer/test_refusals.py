"""One odd refusal, by every part that heeds it: pages, budget, report and catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from moe_middleware import MoEngageClient, Reason, Settings
from moe_middleware.cache import MemoryCache
from moe_middleware.client.budget import MemoryBudget
from moe_middleware.models.errors import RateLimitedError
from moe_middleware.models.observers import Observer
from moe_middleware.network.published_limits import LONGEST_WAIT
from moe_middleware.personalizer.fetcher import Fetcher
from moe_middleware.visitors.visitor import Visitor

from ..makers import CONTEXT
from ..rows import each

FETCHED = {
    "experiences": {"hero": {"payload": {"a": 1}, "experience_context": CONTEXT}}
}
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"

ODD: list[Mapping[str, str]] = [
    {},
    {"retry-after": "86400"},
    {"retry-after": "inf"},
    {"retry-after": "nan"},
    {"retry-after": "-1"},
    {"retry-after": "1e9"},
    {"retry-after": "9" * 400},
    {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"},
    {"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", "date": DATE},
    {"x-ratelimit-reset": "1700000030000", "date": DATE},
    {"x-ratelimit-reset": "1700000030", "date": "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"x-ratelimit-reset": "99999999999999999"},
    {"x-ratelimit-reset": "Infinity"},
    {"x-ratelimit-reset": "-1700000030"},
    {"x-ratelimit-limit": "0", "x-ratelimit-remaining": "-5"},
    {"x-ratelimit-limit": "nan", "x-ratelimit-remaining": "nan"},
]


class Site:
    """What fetches for pages, with one clock that the test moves."""

    def __init__(self, refusal: Mapping[str, str]) -> None:
        self.now = 1_700_000_000.0
        self.refusal: Mapping[str, str] | None = refusal
        budget = MemoryBudget(10_000, clock=lambda: self.now)
        settings = Settings(workspace_id="W1", api_key="K1", fetch={"tries": 1})
        self.client = MoEngageClient(
            settings,
            budget=budget,
            transport=lambda: httpx.MockTransport(self.answer),
            clock=lambda: self.now,
        )
        cache = MemoryCache(ttl=0, stale=0, max_entries=10, max_bytes=10_000)
        self.fetcher = Fetcher(
            self.client,
            cache,
            None,
            timeout=1,
            observer=Observer(),
            stopwatch=lambda: self.now,
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.refusal is not None:
            return httpx.Response(429, headers=dict(self.refusal))
        return httpx.Response(200, json=FETCHED)

    async def page(self, number: int) -> Any:
        visitor = Visitor(None, None, {}, False, {}, b"%d" % number, b"", b"")
        waiting = self.fetcher.start(["hero"], visitor, {}, timeout=1)
        return await waiting["hero"]


@each("refusal", ODD)
async def test_a_minute_after_one_refusal_pages_have_their_experiences(
    refusal: Mapping[str, str],
) -> None:
    site = Site(refusal)

    first = await site.page(1)
    site.refusal = None
    site.now += LONGEST_WAIT + 1
    after = await site.page(2)

    assert first is Reason.RATE_LIMITED
    assert [dict(one.payload) for one in after] == [{"a": 1}]


@each("refusal", ODD)
async def test_no_refusal_asks_a_caller_to_wait_for_more_than_a_minute(
    refusal: Mapping[str, str],
) -> None:
    site = Site(refusal)

    with pytest.raises(RateLimitedError) as report:
        await site.client.metadata()
    with pytest.raises(RateLimitedError) as fetch:
        await site.client.fetch(["hero"])

    waits = {report.value.retry_after, fetch.value.retry_after}
    assert len(waits) == 1
    assert all(wait is None or 0 <= wait <= LONGEST_WAIT for wait in waits)
