"""Sentry and Datadog see variations, by the recipes of docs/how-to/openfeature.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from openfeature import api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.openfeature import OpenFeatureIntegration
from sentry_sdk.transport import Transport
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware.sandbox import Sandbox

from ..documents import Document
from ..sites import Site
from .conftest import NewClient

BANNER, TITLE = "homepage-banner", "homepage-banner.Title"


def recipe(name: str) -> dict[str, Any]:
    """Return the names of a recipe's code."""
    blocks = Document("docs/how-to/openfeature.md").blocks
    [code] = [block.text for block in blocks if block.file == name]
    names: dict[str, Any] = {}
    exec(compile(code, name, "exec"), names)
    return names


class Sent(Transport):
    """Keeps what Sentry's SDK would send."""

    def __init__(self) -> None:
        super().__init__({"dsn": "https://public@sentry.invalid/1"})
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))

    def flags(self) -> dict[str, bool]:
        [event] = self.events
        values = event["contexts"]["flags"]["values"]
        return {one["flag"]: one["result"] for one in values}


@pytest.fixture
def sent() -> Iterator[Sent]:
    transport = Sent()
    sentry_sdk.init(
        dsn="https://public@sentry.invalid/1",
        transport=transport,
        integrations=[OpenFeatureIntegration()],
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    yield transport
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


async def test_an_error_in_sentry_names_the_variations_of_its_page(
    sandbox: Sandbox, new_client: NewClient, sent: Sent
) -> None:
    sandbox.define("new-checkout", {"On": True})
    client, names = new_client(), recipe("sentry_variations.py")
    api.add_hooks([names["SentryHook"]()])
    variations: list[str] = []

    async def handler(request: Request) -> Response:
        client.get_string_value(TITLE, "Welcome")
        client.get_boolean_value("new-checkout.On", False)
        variations.append(request.state.experiences[BANNER].variation)
        sentry_sdk.capture_exception(ValueError("the checkout failed"))
        return Response()

    site = Site(
        handler,
        observer=names["SentryObserver"],
        routes=[{"path": "/", "experiences": [BANNER, "new-checkout", "no-such-key"]}],
    )
    with sentry_sdk.isolation_scope():
        await site.get(customer="alice")

    [variation] = variations
    flags = sent.flags()
    # By the observer, by our hook, and by Sentry's own.
    assert flags[f"{BANNER}={variation}"] is True
    assert flags[f"{TITLE}={variation}"] is True
    assert flags["new-checkout.On"] is True
    assert not any(name.startswith("no-such-key") for name in flags)
    assert "alice" not in str(sent.events[0]["contexts"]["flags"])


async def test_a_span_for_datadog_has_the_variations_of_its_page(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client, names = new_client(), recipe("datadog_variations.py")
    api.add_hooks([names["DatadogHook"]()])
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def handler(request: Request) -> Response:
        client.get_string_value(TITLE, "Welcome")
        return Response()

    site = Site(handler, observer=names["DatadogObserver"])
    with provider.get_tracer("tests").start_as_current_span("request"):
        await site.get(customer="alice")

    [span] = exporter.get_finished_spans()
    attributes = span.attributes or {}
    assert attributes[f"feature_flags.{BANNER}"]
    assert attributes[f"feature_flags.{TITLE}"] == attributes[f"feature_flags.{BANNER}"]
