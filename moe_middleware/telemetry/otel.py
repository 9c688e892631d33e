"""Metrics, spans and events for OpenTelemetry, through its API alone.

The app sets up the SDK and its exporters, before or after this module is imported. A
trace contains no id of a visitor and no payload value.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import Task
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry._logs import LogRecord, SeverityNumber, get_logger
from opentelemetry.metrics import get_meter
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    get_tracer,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..models.errors import MoEngageError
from ..models.events import Event
from ..models.observers import log_failure
from ..models.reasons import Reason, Source
from ..version import __version__
from . import conventions as names
from .contract import NONE, Labels, Report, Sample, Telemetry

MAX_LINKS = 100
"""Links of one span: the SDK keeps 128 by default."""

_W3C = TraceContextTextMapPropagator()


class OpenTelemetryObserver(Telemetry):
    """Measures and traces for OpenTelemetry.

    A call is a span in the trace of the request that makes it; other requests that wait
    for the same fetch are linked. A report of the relay is a span with links to the
    requests that its events come from.

    Args:
        keys: The keys of the routes.
        outbox: The outbox's name, without a password.
    """

    def __init__(self, keys: Iterable[str], outbox: str) -> None:
        scope = names.SCOPE, __version__
        meter = get_meter(*scope, schema_url=names.SCHEMA)
        self._tracer = get_tracer(*scope, schema_url=names.SCHEMA)
        self._logger = get_logger(*scope, schema_url=names.SCHEMA)
        self._labels = Labels(keys)
        self._outbox = {names.OUTBOX: outbox}
        self._open: set[str] = set()
        self._joined: WeakKeyDictionary[Task[Any], list[SpanContext]]
        self._joined = WeakKeyDictionary()
        self._evaluations = meter.create_counter(
            "moe.evaluations", "{evaluation}", "Answers that pages had."
        )
        self._calls = meter.create_histogram(
            "moe.call.duration", "s", "Calls of the API, retries included."
        )
        self._breaker_open = meter.create_up_down_counter(
            "moe.breaker.open", "{breaker}", "Breakers that are not closed."
        )
        self._breaker_changes = meter.create_counter(
            "moe.breaker.changes", "{change}", "Changes of the breakers."
        )
        self._refusals = meter.create_counter(
            "moe.budget.refusals", "{call}", "Calls not made: the budget was spent."
        )
        self._events = meter.create_counter(
            "moe.events", "{event}", "What happened to events."
        )
        self._gauges = {
            field: meter.create_gauge(name, unit, about)
            for field, name, unit, about in _GAUGES
        }

    # --- what pages do ------------------------------------------------------------

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        label, variant = self._labels.of(key, variation)
        measured = {
            names.KEY: label,
            names.VARIANT: variant,
            names.SOURCE: str(source),
            names.REASON: str(reason or NONE),
        }
        self._evaluations.add(1, measured)
        attributes = {
            names.KEY: key,
            names.RESULT_REASON: names.result_reason(source, reason),
            names.PROVIDER_NAME: names.PROVIDER,
            names.SOURCE: str(source),
        }
        if variation is not None:
            attributes[names.VARIANT] = variation
        if reason is not None:
            attributes[names.REASON] = str(reason)
        if (error := names.error_type(source, reason)) is not None:
            attributes[names.ERROR_TYPE] = error
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                event_name=names.EVALUATION_EVENT,
                attributes=attributes,
            )
        )

    def trace(self) -> str | None:
        """Return the current request's trace, if it is recorded."""
        if not get_current_span().get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def joined(self, task: Task[Any]) -> None:
        """Note that the current request waits for a fetch that another one began."""
        context = get_current_span().get_span_context()
        contexts = self._joined.setdefault(task, [])
        if context.is_valid and len(contexts) < MAX_LINKS:
            contexts.append(context)

    # --- calls, and the relay -----------------------------------------------------

    def called(self, endpoint: str, seconds: float, outcome: str) -> None:
        attributes = {names.ENDPOINT: endpoint, names.OUTCOME: outcome}
        self._calls.record(seconds, attributes)
        ended = time.time_ns()
        task = _current_task()
        others = self._joined.pop(task, []) if task is not None else []
        # The call runs in the context of the request that began it.
        span = self._tracer.start_span(
            f"moe.{endpoint}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=[Link(context) for context in others],
            start_time=ended - int(seconds * 1e9),
        )
        if outcome != "ok":
            span.set_attribute(names.ERROR_TYPE, outcome)
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def traced(self, report: Report) -> Report:
        async def traced_report(events: Sequence[Event]) -> None:
            span = self._relay_span(events)
            try:
                # An error's text may name what MoEngage was sent: it is not recorded.
                with use_span(
                    span, record_exception=False, set_status_on_exception=False
                ):
                    await report(events)
            except Exception as error:
                reason = error.reason if isinstance(error, MoEngageError) else "general"
                span.set_attribute(names.ERROR_TYPE, str(reason))
                span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                try:
                    span.end()
                except Exception as error:
                    # Else events that MoEngage has would be sent again.
                    log_failure("traced", error)

        return traced_report

    def _relay_span(self, events: Sequence[Event]) -> Span:
        """Return the span of a report; a processor that raises stops no report."""
        try:
            return self._tracer.start_span(
                names.RELAY_SPAN,
                kind=SpanKind.PRODUCER,
                attributes={names.BATCH_COUNT: len(events)},
                links=_links(events),
            )
        except Exception as error:
            log_failure("traced", error)
            return INVALID_SPAN

    # --- counts ----------------------------------------------------------------------

    def breaker_changed(self, endpoint: str, state: str) -> None:
        attributes = {names.ENDPOINT: endpoint}
        self._breaker_changes.add(1, {**attributes, names.STATE: state})
        if (state != "closed") != (endpoint in self._open):
            self._open ^= {endpoint}
            self._breaker_open.add(1 if endpoint in self._open else -1, attributes)

    def budget_spent(self, seconds: float) -> None:
        self._refusals.add(1)

    def events(self, what: str, count: int) -> None:
        self._events.add(count, {names.WHAT: what})

    def sampled(self, sample: Sample) -> None:
        for field, gauge in self._gauges.items():
            value = getattr(sample, field)
            if value is not None:
                gauge.set(int(value) if field != "oldest_age" else value, self._outbox)


_GAUGES = (
    ("cache_answers", "moe.cache.answers", "{answer}", "Answers in the cache."),
    ("cache_bytes", "moe.cache.size", "By", "The size of these answers."),
    ("unsaved", "moe.outbox.unsaved", "{event}", "Events not stored yet."),
    ("writable", "moe.outbox.writable", "1", "1 if events can be stored, else 0."),
    ("waiting", "moe.outbox.waiting", "{event}", "Events to be delivered."),
    ("dead", "moe.outbox.dead", "{event}", "Dead letters."),
    ("oldest_age", "moe.outbox.oldest_age", "s", "The oldest waiting event's age."),
)
"""A sample's field, and the gauge's name, unit and description."""


def _links(events: Sequence[Event]) -> list[Link]:
    """Return links to the requests that events come from, once each."""
    traces = dict.fromkeys(one.trace for one in events if one.trace is not None)
    contexts = [
        get_current_span(_W3C.extract({"traceparent": trace})).get_span_context()
        for trace in [*traces][:MAX_LINKS]
    ]
    return [Link(context) for context in contexts if context.is_valid]


def _current_task() -> Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
