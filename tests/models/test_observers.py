"""The calls of observers, by the whole flow."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import ModuleType

import pytest
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import Counters, Experience, Observer, SettingsError
from moe_middleware.browser.preview_links import COOKIE, Preview
from moe_middleware.models.observers import Observers
from moe_middleware.models.reasons import Reason, Source
from moe_middleware.personalizer.runtime import Runtime
from moe_middleware.sandbox import Sandbox

from ..sites import Site, settings


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the app's own, for ``observer: shop_metrics:...``."""
    module = ModuleType("shop_metrics")
    monkeypatch.setitem(sys.modules, "shop_metrics", module)
    return module


async def test_hits_misses_and_calls_are_counted(sandbox: Sandbox) -> None:
    site = Site(fetch={"timeout": 5})

    for customer in ("alice", "alice", "bob", "alice"):
        await site.get(customer=customer)

    counted = site.runtime.counters.snapshot()
    assert (counted["answers.api"], counted["answers.cache"]) == (2, 2)
    assert counted["calls.fetch.ok"] == 2
    assert 0 < float(counted["seconds.fetch"]) < 60


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


async def test_an_observer_of_the_apps_own_gets_the_same(
    sandbox: Sandbox, metrics: ModuleType
) -> None:
    metrics.observer = Counters()  # type: ignore[attr-defined]
    site = Site(observer="shop_metrics:observer", fetch={"timeout": 5})

    await site.get(customer="alice")

    counted = metrics.observer.snapshot()
    assert counted["answers.api"] == 1
    assert counted == site.runtime.counters.snapshot()


async def test_an_observer_that_raises_harms_nothing(
    sandbox: Sandbox, metrics: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        def answered(self, source: Source, reason: Reason | None, count: int) -> None:
            raise RuntimeError("no metrics today")

    metrics.observer = Broken()  # type: ignore[attr-defined]

    response = await Site(observer="shop_metrics:observer").get(customer="alice")

    assert "Welcome" not in response.text
    assert "observer_failed method=answered error=RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shop_metrics:missing", "has no attribute 'missing'"),
        ("no_such_module:observer", "there is no module 'no_such_module'"),
        ("shop_metrics:number", "inherits from moe_middleware.Observer"),
    ],
)
def test_an_observer_that_is_none_is_refused(
    metrics: ModuleType, target: str, message: str
) -> None:
    metrics.number = 7  # type: ignore[attr-defined]

    with pytest.raises(SettingsError, match=message):
        Runtime(settings(observer=target))


def test_counters_count_exactly_from_many_threads() -> None:
    counters = Counters()

    def work() -> None:
        for _ in range(2_000):
            counters.answered(Source.CACHE, None, 1)
            counters.events("appended", 2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

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
    """Keeps what it receives, but for the visitor's variation: that is drawn."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool, Source, Reason | None]] = []

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        self.seen.append((key, variation is not None, source, reason))


BANNER, UPSELL, NONE = "homepage-banner", "cart-upsell", "no-such-key"
ROUTES = [{"path": "/", "experiences": [BANNER, NONE]}]


@pytest.mark.parametrize("prefetch", ["blocking", "concurrent"])
async def test_each_key_of_a_page_is_evaluated_once_when_its_answer_is_there(
    sandbox: Sandbox, prefetch: str
) -> None:
    observer = Evaluations()
    seen: list[Experience] = []

    async def handler(request: Request) -> Response:
        found = await request.state.experiences.ready()
        await asyncio.gather(found.fetch(UPSELL), found.fetch(UPSELL))
        seen.extend(found[key] for key in [BANNER, BANNER, NONE, "never-asked"])
        return Response()

    site = Site(
        handler,
        routes=ROUTES,
        observer=observer,
        fetch={"prefetch": prefetch, "timeout": 5},
    )
    await site.get(customer="alice")
    fetched, observer.seen = observer.seen, []
    await site.get(customer="alice")

    for source, evaluations in [
        (Source.API, fetched),
        (Source.CACHE, observer.seen),
    ]:
        assert sorted(evaluations) == [
            (UPSELL, True, source, None),
            (BANNER, True, source, None),
            (NONE, False, source, Reason.NO_MATCH),
        ]
    assert seen[0].variation
    assert seen[-1].reason is Reason.NOT_REQUESTED


async def test_the_variation_and_the_audience_are_those_of_the_context(
    sandbox: Sandbox,
) -> None:
    seen: list[tuple[str | None, str | None]] = []
    variations: list[str | None] = []

    class Variations(Observer):
        def evaluated(
            self,
            key: str,
            variation: str | None,
            source: Source,
            reason: Reason | None,
        ) -> None:
            variations.append(variation)

    async def handler(request: Request) -> Response:
        for key in (BANNER, NONE):
            one = request.state.experiences[key]
            context = one.experience_context
            seen.append((one.variation, one.audience))
            assert seen[-1] == (
                context.get("moe_variation_id"),
                context.get("audience_name"),
            )
        return Response()

    site = Site(handler, routes=ROUTES, observer=Variations)
    for _ in range(2):
        await site.get(customer="alice")

    assert seen[1] == (None, None)
    assert seen[0][1] == "Gold members"
    assert variations == [variation for variation, _ in seen]


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
        (BANNER, False, Source.FALLBACK, Reason.SERVER_ERROR),
        (BANNER, False, Source.FALLBACK, Reason.BOT),
    ]
