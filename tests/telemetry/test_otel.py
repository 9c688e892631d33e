"""What OpenTelemetry's own SDK collects: metrics, spans with their links, events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import Experience
from moe_middleware.models.events import Event
from moe_middleware.models.reasons import Reason, Source
from moe_middleware.outbox.encoding import decode, encode
from moe_middleware.sandbox import Sandbox
from moe_middleware.telemetry import conventions
from moe_middleware.telemetry.otel import OpenTelemetryObserver

from ..makers import event
from ..rows import each
from ..sites import Site

KEY = "homepage-banner"
ON = {"otel": True}


class Collector:
    """The SDK, with exporters in memory."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        tracing, logging = TracerProvider(), LoggerProvider()
        tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self.faulty = Faulty()
        tracing.add_span_processor(self.faulty)
        logging.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        trace.set_tracer_provider(tracing)
        metrics.set_meter_provider(MeterProvider([self._reader]))
        set_logger_provider(logging)

    def clear(self) -> None:
        self._spans.clear()
        self._logs.clear()

    def spans(self, name: str) -> list[ReadableSpan]:
        return [one for one in self._spans.get_finished_spans() if one.name == name]

    def events(self) -> list[ReadableLogRecord]:
        return [*self._logs.get_finished_logs()]

    def measured(self) -> Callable[..., float]:
        """Read all metrics; return a function that sums points by their attributes."""
        read = self._reader.get_metrics_data()
        metrics = [
            metric
            for resource in (read.resource_metrics if read is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

        def value(name: str, **wanted: str) -> float:
            labels = {name.replace("__", "."): value for name, value in wanted.items()}
            points: list[Any] = [
                point
                for metric in metrics
                if metric.name == name
                for point in metric.data.data_points
                if labels.items() <= dict(point.attributes or {}).items()
            ]
            values = [getattr(one, "value", getattr(one, "count", 0)) for one in points]
            return float(sum(values))

        return value


@pytest.fixture(scope="module")
def sdk() -> Collector:
    """The SDK: a process sets it up once."""
    return Collector()


@pytest.fixture
def collector(sdk: Collector) -> Iterator[Collector]:
    sdk.clear()
    yield sdk


def traced_site(**sections: Any) -> Site:
    return Site(observability=ON, **sections)


async def visit(site: Site, customer: str = "alice", path: str = "/") -> None:
    """Visit a page as below OpenTelemetry's instrumentations: within a span."""
    with trace.get_tracer("tests").start_as_current_span("request"):
        await site.get(path, customer=customer)


async def test_an_evaluation_is_an_event_in_its_requests_trace(
    sandbox: Sandbox, collector: Collector
) -> None:
    site = traced_site()
    before = collector.measured()("moe.evaluations", moe__source="cache")
    for _ in range(2):
        await visit(site)

    fetched, cached = (one.log_record for one in collector.events())
    requests = collector.spans("request")
    assert fetched.event_name == cached.event_name == "feature_flag.evaluation"
    for record, request in zip((fetched, cached), requests, strict=True):
        assert request.context is not None
        assert record.trace_id == request.context.trace_id
        assert record.span_id == request.context.span_id
    attributes = dict(fetched.attributes or {})
    variant = attributes.pop("feature_flag.result.variant")
    assert variant
    assert attributes == {
        "feature_flag.key": KEY,
        "feature_flag.result.reason": "targeting_match",
        "feature_flag.provider.name": "MoEngage",
        "moe.source": "api",
    }
    assert (cached.attributes or {})["feature_flag.result.reason"] == "cached"
    after = collector.measured()("moe.evaluations", moe__source="cache")
    assert after == before + 1


async def test_a_failed_evaluation_names_its_error_and_no_visitor(
    sandbox: Sandbox, collector: Collector
) -> None:
    sandbox.fault(path="fetch", status=503, times=None)

    await visit(traced_site(fetch={"tries": 1}), "alice@example.com")

    [event] = collector.events()
    [call] = collector.spans("moe.fetch")
    attributes = event.log_record.attributes or {}
    assert attributes["feature_flag.result.reason"] == "error"
    assert attributes["error.type"] == attributes["moe.reason"] == "server_error"
    assert "feature_flag.result.variant" not in attributes
    assert (call.attributes or {})["error.type"] == "server_error"
    assert not call.status.is_ok
    assert "alice" not in repr(event.to_json()) + call.to_json()


async def test_a_fetch_is_in_the_trace_of_the_page_and_links_those_that_joined(
    sandbox: Sandbox, collector: Collector
) -> None:
    site = traced_site()
    sandbox.fault(path="fetch", latency=0.2)

    await asyncio.gather(*(visit(site) for _ in range(3)))

    requests = {
        one.context.span_id: one for one in collector.spans("request") if one.context
    }
    [fetch] = collector.spans("moe.fetch")
    assert fetch.parent is not None
    first = requests.pop(fetch.parent.span_id)
    assert first.context is not None
    assert fetch.context is not None
    assert fetch.context.trace_id == first.context.trace_id
    assert {link.context.span_id for link in fetch.links} == {*requests}
    assert len(requests) == 2
    assert fetch.start_time is not None and fetch.end_time is not None
    assert fetch.end_time - fetch.start_time >= 0.15e9
    assert collector.measured()("moe.call.duration", moe__endpoint="fetch") >= 1


async def test_a_relay_links_the_requests_of_its_events(
    sandbox: Sandbox, collector: Collector, tmp_path: Path
) -> None:
    outbox = {"outbox": f"sqlite:///{tmp_path}/outbox.db", "relay": "off"}
    links: list[str] = []

    async def handler(request: Request) -> Response:
        links.append(request.state.experiences.show(KEY).click_url("/shop", "Shop"))
        return Response()

    site = traced_site(handler=handler, events=outbox, secret_key="s" * 32)
    for customer in ("alice", "bob"):
        await visit(site, customer)
    await visit(site, "alice", links[0])
    await site.runtime.outbox.flush()
    requests = collector.spans("request")
    # Another process delivers: the traces are in the outbox.
    relaying = traced_site(events=outbox)
    await relaying.runtime.deliver(10)
    await relaying.runtime.stop()

    [relay] = collector.spans("moe.relay")
    [call] = collector.spans("moe.events")
    linked = {link.context.span_id for link in relay.links}
    assert linked == {one.context.span_id for one in requests if one.context}
    assert relay.parent is None
    assert call.parent is not None
    assert relay.context is not None
    assert call.parent.span_id == relay.context.span_id
    assert (sandbox.impressions(KEY), sandbox.clicks(KEY)) == (2, 1)


async def test_a_relay_that_fails_says_so_without_the_errors_text(
    sandbox: Sandbox, collector: Collector
) -> None:
    site = traced_site(events={"outbox": "memory:", "relay": "off"})
    sandbox.fault(path="events", status=503, times=None)
    site.runtime.outbox.append([event()])

    await site.runtime.deliver(5)

    [relay, *_] = collector.spans("moe.relay")
    assert not relay.status.is_ok
    assert (relay.attributes or {})["error.type"] == "server_error"
    assert relay.events == ()


class Faulty(SpanProcessor):
    """A processor of the app's that raises.

    Attributes:
        at: ``start`` or ``end`` of a span, or empty.
    """

    at = ""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._raise_at("start")

    def on_end(self, span: ReadableSpan) -> None:
        self._raise_at("end")

    def _raise_at(self, where: str) -> None:
        if self.at == where:
            raise RuntimeError("of alice")


@pytest.mark.parametrize("at", ["start", "end"])
async def test_a_processor_that_raises_stops_no_delivery_and_repeats_none(
    sandbox: Sandbox, collector: Collector, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    site = traced_site(events={"outbox": "memory:", "relay": "off"})
    collector.faulty.at = at
    try:
        site.runtime.outbox.append([event()])
        await site.runtime.deliver(5)
    finally:
        collector.faulty.at = ""

    assert (await site.runtime.outbox.count()).waiting == 0
    assert len(sandbox.events) == 1
    assert "observer_failed method=traced error=RuntimeError" in caplog.text
    assert "alice" not in caplog.text


async def test_breakers_budgets_and_samples_are_measured(
    sandbox: Sandbox, collector: Collector
) -> None:
    observer = OpenTelemetryObserver(["hero"], "memory:")
    before = collector.measured()("moe.breaker.changes")
    observer.budget_spent(1.0)
    await asyncio.to_thread(observer.called, "metadata", 0.1, "ok")
    observer.events("lost", 3)
    for state in ("open", "probing"):
        observer.breaker_changed("fetch", state)
    opened = collector.measured()("moe.breaker.open")
    observer.breaker_changed("fetch", "closed")
    site = traced_site(events={"outbox": "memory:", "relay": "off"})
    await site.get(customer="alice")
    await site.runtime.sampler.sample()
    value = collector.measured()

    assert value("moe.breaker.changes") - before == 3
    assert (opened, value("moe.breaker.open")) == (1, 0)
    assert value("moe.budget.refusals") >= 1
    assert value("moe.call.duration", moe__endpoint="metadata") >= 1
    assert value("moe.events", moe__event__change="lost") == 3
    assert value("moe.outbox.waiting", moe__outbox="memory:") == 1
    assert value("moe.outbox.writable", moe__outbox="memory:") == 1
    assert value("moe.cache.answers") >= 1
    assert value("moe.outbox.oldest_age") > 0


# --- what is kept with events, and the conventions ------------------------------------

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_is_kept_with_an_event_and_costs_others_nothing() -> None:
    shown = Experience(key="k", experience_context={"cid": "c"})
    plain = Event.impression(shown, "alice")
    with_trace = Event.impression(shown, "alice", trace=TRACE)

    assert decode(encode(with_trace)) == with_trace
    assert decode(encode(plain)) == plain
    assert b"trace" not in encode(plain)
    assert decode(encode(plain)[:-1] + b',"trace":7}') is None


def test_names_and_values_are_those_of_the_conventions() -> None:
    theirs = vars(feature_flag_attributes)
    values = theirs["FeatureFlagResultReasonValues"]
    known = {one.value for one in values}
    reasons = {
        conventions.result_reason(source, reason)
        for source in Source
        for reason in (None, *Reason)
    }

    assert theirs["FEATURE_FLAG_KEY"] == conventions.KEY
    assert theirs["FEATURE_FLAG_RESULT_VARIANT"] == conventions.VARIANT
    assert theirs["FEATURE_FLAG_RESULT_REASON"] == conventions.RESULT_REASON
    assert theirs["FEATURE_FLAG_PROVIDER_NAME"] == conventions.PROVIDER_NAME
    assert reasons <= known


@each(
    ("source", "reason", "result", "error"),
    [
        (Source.API, None, "targeting_match", None),
        (Source.STALE, Reason.REVALIDATING, "stale", None),
        (Source.STALE, Reason.TIMEOUT, "error", "timeout"),
        (Source.CACHE, Reason.NO_MATCH, "default", None),
        (Source.FALLBACK, Reason.NOT_ACTIVE, "disabled", None),
        (Source.FALLBACK, Reason.NOT_REQUESTED, "error", "flag_not_found"),
        (Source.FALLBACK, Reason.BAD_ANSWER, "error", "parse_error"),
        (Source.FALLBACK, None, "unknown", None),
    ],
)
def test_our_reasons_are_theirs(
    source: Source, reason: Reason | None, result: str, error: str | None
) -> None:
    assert conventions.result_reason(source, reason) == result
    assert conventions.error_type(source, reason) == error
