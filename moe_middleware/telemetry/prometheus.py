"""Metrics for Prometheus, and the apps that serve them at ``/metrics``.

With ``PROMETHEUS_MULTIPROC_DIR`` the apps serve the metrics of all processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Receive, Scope, Send

from ..concurrency.background_loop import background
from ..concurrency.processes import is_alive
from ..models.reasons import Reason, Source
from .contract import NONE, OTHER, Labels, Sample, Telemetry
from .sampling import PATIENCE, sample_all

try:
    from prometheus_client import (
        REGISTRY,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
        make_asgi_app,
        make_wsgi_app,
    )
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
except ImportError as error:
    message = "prometheus-client is missing: pip install 'moe_middleware[prometheus]'"
    raise ImportError(message) from error

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Merging = Literal["livesum", "livemostrecent", "livemax", "livemin"]
"""How the values of several processes are combined."""

_Answer = tuple[str, str | None, Source, Reason | None]

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)
"""The histogram's buckets: a page waits 0.3 seconds by default, a report 10."""


class Metrics:
    """All metrics, in one registry; their help texts describe them.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=registry)

        def gauge(
            name: str, about: str, *labels: str, mode: Merging = "livesum"
        ) -> Gauge:
            return Gauge(name, about, labels, registry=registry, multiprocess_mode=mode)

        self.lock = Lock()
        self.samples: WeakKeyDictionary[PrometheusObserver, Sample]
        self.samples = WeakKeyDictionary()
        self.evaluations = counter(
            "moe_evaluations",
            "Answers that pages had: once for each page and key.",
            *("key", "variation", "source", "reason"),
        )
        self.calls = Histogram(
            "moe_call_duration_seconds",
            "Calls of the API, retries included.",
            ("endpoint", "outcome"),
            registry=registry,
            buckets=SECONDS,
        )
        self.cache_answers = gauge(
            "moe_cache_answers", "Answers in the caches of all processes."
        )
        self.cache_bytes = gauge("moe_cache_bytes", "The size of these answers.")
        self.breaker_open = gauge(
            "moe_breaker_open", "Processes whose breaker is not closed.", "endpoint"
        )
        self.breaker_changes = counter(
            "moe_breaker_changes", "Changes of the breakers.", "endpoint", "state"
        )
        self.budget_refusals = counter(
            "moe_budget_refusals", "Calls not made: the budget was spent."
        )
        self.events = counter(
            "moe_events",
            "Events appended, delivered, retried and buried by the relay, and refused, "
            "dropped and lost by the outbox.",
            "what",
        )
        self.outbox_waiting = gauge(
            "moe_outbox_waiting",
            "Stored events that are to be delivered.",
            *("outbox",),
            mode="livemostrecent",
        )
        self.outbox_dead = gauge(
            "moe_outbox_dead", "Dead letters.", "outbox", mode="livemostrecent"
        )
        self.outbox_unsaved = gauge(
            "moe_outbox_unsaved",
            "Events that their process could not store yet.",
            *("outbox",),
        )
        self.outbox_oldest = gauge(
            "moe_outbox_oldest_event_age_seconds",
            "The age of the oldest event that is to be delivered; 0 without any.",
            *("outbox",),
            mode="livemostrecent",
        )
        self.outbox_writable = gauge(
            "moe_outbox_writable",
            "Whether events can be stored: 1, or 0 if a process cannot.",
            *("outbox",),
            mode="livemin",
        )


LOSSES = ("refused", "dropped", "lost", "buried")
"""The outcomes of events that MoEngage does not get, or refuses."""

_METRICS: WeakKeyDictionary[CollectorRegistry, Metrics] = WeakKeyDictionary()


def metrics_in(registry: CollectorRegistry) -> Metrics:
    """Return the metrics of a registry, made at the first call."""
    found = _METRICS.get(registry)
    if found is None:
        # A registry takes no metric twice, and may serve several configurations.
        found = _METRICS[registry] = Metrics(registry)
    return found


class PrometheusObserver(Telemetry):
    """Counts for Prometheus. Several configurations count together.

    Args:
        keys: The keys of the routes.
        outbox: The outbox's name, without a password.
        outbox_is_own: Whether each process has an outbox of its own, as in memory. If
            the metrics of several processes are merged, its label has the process's
            number: one metric cannot merge shared outboxes and own ones.
        registry: The registry; by default the one of ``prometheus_client``.
    """

    def __init__(
        self,
        keys: Iterable[str],
        outbox: str,
        *,
        outbox_is_own: bool = False,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._metrics = metrics_in(registry)
        self._labels = Labels(keys)
        self.outbox = outbox
        self._outbox_is_own = outbox_is_own
        self._open: set[str] = set()
        # Looking a series up by its labels takes longer than to count.
        self._series: dict[_Answer, Counter] = {}
        # A rate begins at a zero, and an alert needs a series.
        self._metrics.breaker_open.labels("fetch").inc(0)
        self._metrics.calls.labels("fetch", "unauthorized")
        for what in LOSSES:
            self._metrics.events.labels(what).inc(0)

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        answer = key, variation, source, reason
        series = self._series.get(answer)
        if series is None:
            labels = self._labels.of(key, variation)
            series = self._metrics.evaluations.labels(*labels, source, reason or NONE)
            if OTHER not in labels:  # of those there may be any number
                self._series[answer] = series
        series.inc()

    def called(self, endpoint: str, seconds: float, outcome: str) -> None:
        self._metrics.calls.labels(endpoint, outcome).observe(seconds)

    def breaker_changed(self, endpoint: str, state: str) -> None:
        self._metrics.breaker_changes.labels(endpoint, state).inc()
        if (state != "closed") != (endpoint in self._open):
            self._open ^= {endpoint}
            step = 1 if endpoint in self._open else -1
            self._metrics.breaker_open.labels(endpoint).inc(step)

    def budget_spent(self, seconds: float) -> None:
        self._metrics.budget_refusals.inc()

    def events(self, what: str, count: int) -> None:
        self._metrics.events.labels(what).inc(count)

    def sampled(self, sample: Sample) -> None:
        # Several configurations of a process share its gauges: the last one to be
        # sampled must not hide what another one cannot store.
        metrics, outbox = self._metrics, self.outbox
        if self._outbox_is_own and os.environ.get(MULTIPROCESS):
            outbox += str(os.getpid())
        with metrics.lock:
            metrics.samples[self] = sample
            known = [*metrics.samples.items()]
        samples = [one for _, one in known]
        same = [one for observer, one in known if observer.outbox == self.outbox]
        metrics.cache_answers.set(sum(one.cache_answers for one in samples))
        metrics.cache_bytes.set(sum(one.cache_bytes for one in samples))
        metrics.outbox_unsaved.labels(outbox).set(sum(one.unsaved for one in same))
        metrics.outbox_writable.labels(outbox).set(all(one.writable for one in same))
        counted = same if self._outbox_is_own else [sample]
        for name, gauge, merged in (
            ("waiting", metrics.outbox_waiting, sum),
            ("dead", metrics.outbox_dead, sum),
            ("oldest_age", metrics.outbox_oldest, max),
        ):
            found = [getattr(one, name) for one in counted]
            if values := [value for value in found if value is not None]:
                gauge.labels(outbox).set(merged(values))


async def read_metrics(registry: CollectorRegistry = REGISTRY) -> bytes:
    """Return what an app of ``metrics_app`` serves, as plain text."""
    await sample_all()
    return generate_latest(_scraped(registry))


def metrics_app(registry: CollectorRegistry = REGISTRY) -> ASGIApp:
    """Return an ASGI app that serves the metrics, as in ``Route("/metrics", ...)``.

    Each scrape looks at the outbox first. With ``PROMETHEUS_MULTIPROC_DIR`` it serves
    the metrics of all processes that write there.

    Args:
        registry: The registry to serve without that variable.
    """

    return _MetricsApp(registry)


class _MetricsApp:
    """An object, as routers take functions for handlers of their own kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await sample_all()
        await make_asgi_app(_scraped(self._registry))(scope, receive, send)


def metrics_wsgi_app(registry: CollectorRegistry = REGISTRY) -> WSGIApplication:
    """Return a WSGI app that serves the metrics; see ``metrics_app``."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with contextlib.suppress(TimeoutError):
            background.run(sample_all(), PATIENCE + 1)
        served: WSGIApplication = make_wsgi_app(_scraped(registry))
        return served(environ, start_response)

    return app


def _scraped(registry: CollectorRegistry) -> CollectorRegistry:
    """Return the registry for one scrape."""
    folder = os.environ.get(MULTIPROCESS)
    if not folder:
        return registry
    forget_dead_processes(Path(folder))
    everyone = CollectorRegistry()
    MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
    return everyone


def forget_dead_processes(folder: Path) -> None:
    """Delete the gauges of processes that have ended; their counters stay.

    A server that has a hook for it, as gunicorn's ``child_exit``, need not have one.
    """
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not is_alive(int(pid)):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]
