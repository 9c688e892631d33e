"""The calls of observers, by the whole flow."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import Counters, Experience, Observer
from moe_middleware.browser.preview_links import COOKIE, Preview
from moe_middleware.models.observers import Observers
from moe_middleware.models.reasons import Reason, Source
from moe_middleware.sandbox import Sandbox

from ..sites import Site


async def test_hits_misses_and_calls_are_counted_for_us_and_for_the_apps_own(
    sandbox: Sandbox,
) -> None:
    own = Counters()
    site = Site(observer=own)

    for customer in ("alice", "alice", "bob", "alice"):
        await site.get(customer=customer)

    counted = site.runtime.counters.snapshot()
    assert (counted["answers.api"], counted["answers.cache"]) == (2, 2)
    assert counted["calls.fetch.ok"] == 2
    assert 0 < float(counted["seconds.fetch"]) < 60
    assert own.snapshot() == counted


async def test_stale_answers_and_fallbacks_are_counted_by_their_reason(
    sandbox: Sandbox,
) -> None:
    site = Site(cache={"ttl": 0, "stale": 60}, fetch={"timeout": 5, "tries": 1})
    await site.get(customer="alice")
    sandbox.fault(path="fetch", status=503, times=None)

    await site.get(customer="alice")
    for number in range(8):
        await site.get(customer=f"c{number}")

    counted = site.runtime.counters.snapshot()
    assert counted["answers.stale"] == counted["reasons.revalidating"] == 1
    assert counted["answers.fallback"] == 8
    failed = float(counted["calls.fetch.server_error"])
    assert failed + float(counted["reasons.breaker_open"]) == 9
    assert counted["state.fetch"] == "open"
    assert counted["breaker.fetch.open"] == 1


def test_counters_count_exactly_from_many_threads() -> None:
    counters = Counters()

    def work(_: int) -> None:
        for _ in range(2_000):
            counters.answered(Source.CACHE, None, 1)
            counters.events("appended", 2)

    with ThreadPoolExecutor(8) as threads:
        [*threads.map(work, range(8))]

    assert counters.snapshot() == {"answers.cache": 16_000, "events.appended": 32_000}


def test_an_observer_that_fails_leaves_the_other_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of alice@example.com")

    methods = ["answered", "evaluated", "called", "breaker_changed", "budget_spent"]
    methods += ["events"]
    failing = type("Failing", (Observer,), dict.fromkeys(methods, fail))
    counters = Counters()
    both = Observers(counters, failing())

    both.answered(Source.CACHE, None, 2)
    both.evaluated("hero", "1", Source.CACHE, None)
    both.called("fetch", 0.5, "ok")
    both.breaker_changed("fetch", "open")
    both.budget_spent(1.0)
    both.events("delivered", 3)

    assert counters.snapshot() == {
        "answers.cache": 2,
        "calls.fetch.ok": 1,
        "seconds.fetch": 0.5,
        "breaker.fetch.open": 1,
        "state.fetch": "open",
        "budget.spent": 1,
        "events.delivered": 3,
    }
    assert "observer_failed" in caplog.text
    assert "alice" not in caplog.text


class Evaluations(Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, Source, Reason | None]] = []

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        self.seen.append((key, variation, source, reason))


BANNER, UPSELL, NONE = "homepage-banner", "cart-upsell", "no-such-key"
ROUTES = [{"path": "/", "experiences": [BANNER, NONE]}]


@pytest.mark.parametrize("prefetch", ["blocking", "concurrent"])
async def test_each_key_of_a_page_is_evaluated_once_when_its_answer_is_there(
    sandbox: Sandbox, prefetch: str
) -> None:
    observer = Evaluations()
    banners: list[Experience] = []

    async def handler(request: Request) -> Response:
        found = await request.state.experiences.ready()
        await asyncio.gather(found.fetch(UPSELL), found.fetch(UPSELL))
        banners.extend([found[BANNER], found[BANNER]])
        assert found["never-asked"].reason is Reason.NOT_REQUESTED
        return Response()

    fetch = {"prefetch": prefetch, "timeout": 5}
    site = Site(handler, routes=ROUTES, observer=observer, fetch=fetch)
    for source in (Source.API, Source.CACHE):
        observer.seen.clear()
        await site.get(customer="alice")

        variations = {key: variation for key, variation, _, _ in observer.seen}
        context = banners[-1].experience_context
        assert banners[-1].audience == context["audience_name"] == "Gold members"
        assert banners[-1].variation == context["moe_variation_id"]
        assert variations[BANNER] == banners[-1].variation
        assert sorted(observer.seen) == [
            (UPSELL, variations[UPSELL], source, None),
            (BANNER, variations[BANNER], source, None),
            (NONE, None, source, Reason.NO_MATCH),
        ]
        assert variations[UPSELL]


@pytest.mark.parametrize(
    ("context", "variation"),
    [({}, None), ({"moe_variation_id": 2}, "2"), ({"moe_variation_id": ""}, None)],
)
def test_a_variation_is_text_or_none(
    context: dict[str, object], variation: str | None
) -> None:
    assert Experience(key="k", experience_context=context).variation == variation
    assert Experience(key="k").audience is None


async def test_previews_and_failures_are_evaluations_too(sandbox: Sandbox) -> None:
    observer = Evaluations()
    site = Site(
        observer=observer, secret_key="s" * 32, fetch={"tries": 1}, cache={"ttl": 60}
    )
    preview = Preview(BANNER, "B", {"Title": "Forced"}, "/", int(time.time()) + 3600)
    previews = site.runtime.personalizer.previews
    assert previews is not None
    token = previews.make(preview).rpartition("/")[2]
    await site.get(customer="alice")
    for_preview = f"customer_id=alice; {COOKIE}={token}"
    await site.get(headers={"cookie": for_preview})
    sandbox.fault(path="fetch", status=503, times=None)
    await site.get(customer="bob")
    await site.get(customer="carol", headers={"user-agent": "Googlebot"})

    assert [source for _, _, source, _ in observer.seen[:2]] == [
        Source.API,
        Source.PREVIEW,
    ]
    assert observer.seen[2:] == [
        (BANNER, None, Source.FALLBACK, Reason.SERVER_ERROR),
        (BANNER, None, Source.FALLBACK, Reason.BOT),
    ]
