"""What observers are told, by the whole flow."""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import pytest

from moe_middleware import Counters, Observer, SettingsError
from moe_middleware.models.observers import Both
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


async def test_an_observer_of_the_apps_own_is_told_the_same(
    sandbox: Sandbox, metrics: ModuleType
) -> None:
    metrics.observer = Counters()  # type: ignore[attr-defined]
    site = Site(observer="shop_metrics:observer", fetch={"timeout": 5})

    await site.get(customer="alice")

    told = metrics.observer.snapshot()
    assert told["answers.api"] == 1
    assert told == site.runtime.counters.snapshot()


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
    ("target", "said"),
    [
        ("shop_metrics:missing", "has no attribute 'missing'"),
        ("no_such_module:observer", "there is no module 'no_such_module'"),
        ("shop_metrics:number", "inherits from moe_middleware.Observer"),
    ],
)
def test_an_observer_that_is_none_is_refused(
    metrics: ModuleType, target: str, said: str
) -> None:
    metrics.number = 7  # type: ignore[attr-defined]

    with pytest.raises(SettingsError, match=said):
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

    methods = "answered", "called", "breaker_changed", "budget_spent", "events"
    failing = type("Failing", (Observer,), dict.fromkeys(methods, fail))
    counters = Counters()
    both = Both(counters, failing())

    both.answered(Source.CACHE, None, 2)
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
