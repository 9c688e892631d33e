"""One odd refusal, by every part that heeds it: pages, budget, report and catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from moe_middleware import MoEngageClient, Reason, Settings
from moe_middleware.cache import MemoryCache
from moe_middleware.client.budget import Limits, MemoryBudget
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


@each("refusal", ODD)
async def test_a_minute_after_one_refusal_pages_have_their_experiences(
    refusal: Mapping[str, str],
) -> None:
    now = 1_700_000_000.0

    def answer(request: httpx.Request) -> httpx.Response:
        if now == 1_700_000_000:
            return httpx.Response(429, headers=dict(refusal))
        return httpx.Response(200, json=FETCHED)

    client = MoEngageClient(
        Settings(workspace_id="W1", api_key="K1", fetch={"tries": 1}),
        budget=MemoryBudget(Limits(10_000), clock=lambda: now),
        transport=lambda: httpx.MockTransport(answer),
        clock=lambda: now,
    )
    cache = MemoryCache(ttl=0, stale=0, max_entries=10, max_bytes=10_000)
    fetcher = Fetcher(
        client, cache, None, timeout=1, observer=Observer(), stopwatch=lambda: now
    )

    async def page(number: int) -> Any:
        visitor = Visitor(None, None, {}, False, {}, b"%d" % number, b"", b"")
        return await fetcher.start(["hero"], visitor, {}, timeout=1)["hero"]

    with pytest.raises(RateLimitedError) as report:
        await client.metadata()
    first = await page(1)
    now += LONGEST_WAIT + 1
    after = await page(2)

    wait = report.value.retry_after
    assert wait is None or 0 <= wait <= LONGEST_WAIT
    assert first is Reason.RATE_LIMITED
    assert [dict(one.payload) for one in after] == [{"a": 1}]
