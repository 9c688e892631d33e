"""The provider, through the SDK's client: pages, customers, events, tracking."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, GeneralError
from openfeature.flag_evaluation import (
    FlagEvaluationDetails,
    FlagEvaluationOptions,
    Reason,
)
from openfeature.hook import Hook, HookContext
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import MoEngageWSGIMiddleware, SettingsError
from moe_middleware.openfeature import MoEngageProvider
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.sandbox import Sandbox

from ..servers import wait_for
from ..sites import Site, settings
from .conftest import NewClient

BANNER, TITLE = "homepage-banner", "homepage-banner.Title"
ALICE, BOB = EvaluationContext("alice"), EvaluationContext("bob")


def fetches(sandbox: Sandbox) -> int:
    return sandbox.calls["fetch"]


# --- within a request ---------------------------------------------------------------


async def test_a_page_answers_from_what_it_has_and_counts_nothing(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client()
    seen: list[FlagEvaluationDetails[str]] = []

    async def handler(request: Request) -> Response:
        calls = fetches(sandbox)
        for context in (None, ALICE):
            seen.append(client.get_string_details(TITLE, "x", context))
            seen.append(await client.get_string_details_async(TITLE, "x", context))
        assert fetches(sandbox) == calls
        shown = request.state.experiences[BANNER]
        assert {one.value for one in seen} == {shown["Title"]}
        assert {one.variant for one in seen} == {shown.variation}
        return Response()

    site = Site(handler)
    await site.get(customer="alice")
    page = await site.get(customer="alice")
    await site.delivered()

    assert "private" in page.headers["cache-control"]
    first, last = seen[0], seen[-1]
    assert (first.reason, last.reason) == (Reason.TARGETING_MATCH, Reason.CACHED)
    assert first.flag_metadata == {"source": "api", "audience": "Gold members"}
    assert sandbox.events == []


async def test_a_page_answers_neither_for_another_customer_nor_for_further_keys(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client()
    seen: list[FlagEvaluationDetails[str]] = []

    async def handler(request: Request) -> Response:
        seen.append(client.get_string_details(TITLE, "x", BOB))
        seen.append(await client.get_string_details_async(TITLE, "x", BOB))
        client.track("click", BOB, TrackingEventDetails(attributes={"key": BANNER}))
        seen.append(await client.get_string_details_async("cart-upsell.Headline", "x"))
        return Response()

    site = Site(handler)
    await site.get(customer="alice")
    await site.delivered()

    *of_bob, further = seen
    for found in of_bob:
        assert (found.value, found.error_code) == ("x", ErrorCode.INVALID_CONTEXT)
        assert "bob" not in str(found.error_message)
    assert further.error_code == ErrorCode.FLAG_NOT_FOUND
    assert further.flag_metadata["moe.reason"] == "not_requested"
    assert "route" in str(further.error_message)
    assert sandbox.events == []


async def test_a_concurrent_page_is_awaited_by_async_methods_and_by_wsgi_apps(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client()
    sandbox.fault(path="fetch", latency=0.1, times=2)
    seen: list[Any] = []

    async def handler(request: Request) -> Response:
        early = client.get_string_details(TITLE, "x")
        seen.append((early.value, early.error_code))
        seen.append(await client.get_string_value_async(TITLE, "x"))
        return Response()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(client.get_string_value(TITLE, "x"))
        start_response("200 OK", [])
        return [b""]

    concurrent = settings(fetch={"prefetch": "concurrent"})
    await Site(handler, fetch={"prefetch": "concurrent"}).get(customer="alice")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}
    environ["HTTP_COOKIE"] = "customer_id=bob"
    body: Any = await asyncio.to_thread(
        MoEngageWSGIMiddleware(app, concurrent), environ, lambda *_: lambda _: None
    )
    body.close()

    assert seen[0] == ("x", ErrorCode.PROVIDER_NOT_READY)
    assert {"x", None}.isdisjoint(seen[1:])


async def test_what_a_bot_or_an_outage_gets_is_the_default(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client()
    seen: list[FlagEvaluationDetails[str]] = []

    async def handler(request: Request) -> Response:
        seen.append(client.get_string_details(TITLE, "x"))
        return Response()

    site = Site(handler, fetch={"tries": 1})
    await site.get(headers={"user-agent": "Googlebot"})
    sandbox.fault(path="fetch", status=503, times=None)
    await site.get(customer="alice")

    assert [one.value for one in seen] == ["x", "x"]
    assert [one.reason for one in seen] == [Reason.DEFAULT, Reason.ERROR]
    assert seen[1].error_code == ErrorCode.GENERAL
    assert seen[1].flag_metadata["moe.reason"] == "server_error"


# --- outside of a request -----------------------------------------------------------


def test_a_customer_is_fetched_once_and_then_cached(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client()
    sandbox.define("experiment", {})

    first = client.get_string_details(TITLE, "x", ALICE)
    again = client.get_object_details(BANNER, {}, ALICE)
    other = client.get_string_details(TITLE, "x", EvaluationContext("nobody"))
    # As in a notebook: it waits for our own loop.
    on_a_loop = asyncio.run(both_ways(client))

    assert (first.reason, again.reason) == (Reason.TARGETING_MATCH, Reason.CACHED)
    assert isinstance(again.value, Mapping)
    assert again.value["Title"] == first.value
    assert on_a_loop == [first.value] * 2
    assert fetches(sandbox) == 2
    assert other.value != first.value
    assert sandbox.events == []
    # A missing value names those that are there.
    missing = client.get_string_details(f"{BANNER}.Titel", "x", ALICE)
    assert missing.error_code == ErrorCode.FLAG_NOT_FOUND
    assert "Title" in str(missing.error_message)
    # A variation without content is the default, and names itself.
    empty = client.get_string_details("experiment.Title", "x", ALICE)
    assert (empty.value, empty.reason, empty.error_code) == ("x", Reason.DEFAULT, None)
    assert empty.variant


async def both_ways(client: OpenFeatureClient) -> list[str]:
    awaited = await client.get_string_value_async(TITLE, "x", ALICE)
    return [awaited, client.get_string_value(TITLE, "x", ALICE)]


@pytest.mark.parametrize(
    ("context", "code"),
    [
        (None, ErrorCode.TARGETING_KEY_MISSING),
        (EvaluationContext(""), ErrorCode.TARGETING_KEY_MISSING),
        (EvaluationContext("a" * 300), ErrorCode.INVALID_CONTEXT),
        (EvaluationContext("a\x00b"), ErrorCode.INVALID_CONTEXT),
    ],
)
def test_without_a_customer_there_is_no_value(
    sandbox: Sandbox,
    new_client: NewClient,
    context: EvaluationContext | None,
    code: ErrorCode,
) -> None:
    found = new_client().get_string_details(TITLE, "x", context)

    assert (found.value, found.error_code, found.reason) == ("x", code, Reason.ERROR)
    assert fetches(sandbox) == 0


def test_an_attribute_that_the_settings_name_is_sent_and_no_other(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client(attributes={"utm_medium": {"query": "m"}, "n": {"query": "n"}})
    given: Any = {"utm_medium": "email", "n": 7, "email": "alice@example.com"}

    client.get_string_value(TITLE, "x", EvaluationContext("alice", given))
    client.get_string_value(TITLE, "x", EvaluationContext("alice", {"n": True}))
    client.get_string_value(TITLE, "x", EvaluationContext("alice", {"n": [1]}))

    sent = sandbox.requests.latest(endpoint="fetch")
    bodies = [json.loads(one.request_body) for one in reversed(sent)]
    assert [(one.get("utm_medium"), one.get("n")) for one in bodies] == [
        ("email", "7"),
        (None, "true"),
        (None, None),
    ]
    assert "alice@example.com" not in str(bodies)


def test_a_key_that_does_not_exist_differs_from_one_without_a_match(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    made, now = settings(), [100.0]
    # The provider has the same runtime.
    runtime = runtime_for(made, stopwatch=lambda: now[0])
    client = new_client(MoEngageProvider(made))
    sandbox.define("only-gold", {"Title": "Gold"}, to={"tier": "gold"})

    def found(key: str) -> FlagEvaluationDetails[str]:
        runtime.cache.clear()
        return client.get_string_details(f"{key}.Title", "x", BOB)

    before = found("only-gold")
    now[0] += 20
    sandbox.fault(path="metadata", status=503, times=None)
    unlisted = found("only-gold")
    sandbox.reset()
    sandbox.define("only-gold", {"Title": "Gold"}, to={"tier": "gold"})
    now[0] += 20
    after = found("only-gold")

    assert before.error_code == unlisted.error_code == ErrorCode.FLAG_NOT_FOUND
    assert (after.value, after.reason, after.error_code) == ("x", Reason.DEFAULT, None)
    assert after.flag_metadata == {"source": "api", "moe.reason": "no_match"}
    assert found("no-such-key").error_code == ErrorCode.FLAG_NOT_FOUND


async def test_what_is_not_foreseen_is_the_default_too(
    sandbox: Sandbox, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreadable:
        def __str__(self) -> str:
            raise RuntimeError("of alice")

    client, key = new_client(), Unreadable()
    context = EvaluationContext(key)  # type: ignore[arg-type]

    for found in [
        client.get_string_details(TITLE, "x", context),
        await client.get_string_details_async(TITLE, "x", context),
    ]:
        assert (found.value, found.error_code) == ("x", ErrorCode.GENERAL)
    assert caplog.text.count("evaluation_failed error=RuntimeError") == 2
    assert "alice" not in caplog.text


def test_keys_and_values_may_have_dots(sandbox: Sandbox, new_client: NewClient) -> None:
    sandbox.define("shop", {"hero.Title": "of a shorter key"})
    sandbox.define("shop.hero", {"Title": "A", "CTA.Label": "B"})
    client = new_client()

    assert client.get_string_value("shop.hero.Title", "x", BOB) == "A"
    assert client.get_string_value("shop.hero.CTA.Label", "x", BOB) == "B"
    assert client.get_object_value("shop.hero", {}, BOB) == {
        "Title": "A",
        "CTA.Label": "B",
    }


# --- events of the provider, hooks, shutdown -----------------------------------------


class Heard:
    """What the SDK tells an app about its provider."""

    def __init__(self, client: OpenFeatureClient) -> None:
        self.events: list[str] = []
        for event in ProviderEvent:
            client.add_handler(event, self._handler(event))

    def _handler(self, event: ProviderEvent) -> Any:
        def hear(details: EventDetails) -> None:
            assert details.provider_name == "MoEngage"
            self.events.append(event.value)

        return hear

    def wait_for(self, *events: str) -> None:
        # The SDK calls handlers in threads of its own.
        wait_for(lambda: len(self.events) >= len(events), what=str(events))
        assert self.events == [*events]


def test_an_outage_makes_it_stale_and_its_end_ready(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client(fetch={"tries": 1}, cache={"ttl": 0, "stale": 600})
    heard = Heard(client)
    title = client.get_string_value(TITLE, "x", ALICE)
    sandbox.fault(path="fetch", status=503, times=None)

    for number in range(10):
        client.get_string_value(TITLE, "x", EvaluationContext(f"c{number}"))
    stale = client.get_string_details(TITLE, "x", ALICE)
    while_open = client.get_provider_status()
    sandbox.reset()

    def answered() -> bool:
        return client.get_string_value(TITLE, "x", EvaluationContext("new")) != "x"

    wait_for(answered, what="the breaker to let a call pass")
    assert (stale.value, stale.reason) == (title, Reason.STALE)
    assert while_open is ProviderStatus.STALE
    heard.wait_for("PROVIDER_READY", "PROVIDER_STALE", "PROVIDER_READY")
    assert client.get_provider_status() is ProviderStatus.READY


def test_refused_credentials_are_an_error(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client(fetch={"tries": 1})
    heard = Heard(client)
    sandbox.fault(path="fetch", status=401, times=None)

    assert client.get_string_value(TITLE, "x", ALICE) == "x"

    heard.wait_for("PROVIDER_READY", "PROVIDER_ERROR")
    assert client.get_provider_status() is ProviderStatus.ERROR


def test_a_start_without_moengage_is_an_error_until_the_first_answer(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    sandbox.fault(path="metadata", status=503, times=None)
    with pytest.raises(GeneralError, match="pages go on"):
        new_client(fetch={"tries": 1})
    client = api.get_client()
    assert client.get_provider_status() is ProviderStatus.ERROR

    assert client.get_string_value(TITLE, "x", ALICE) != "x"

    assert client.get_provider_status() is ProviderStatus.READY


def test_hooks_see_the_variant_and_change_the_context(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    seen: list[tuple[str, str | None, str]] = []

    class Customer(Hook):
        def before(self, hook_context: HookContext, hints: Any) -> EvaluationContext:
            return ALICE

        def after(
            self,
            hook_context: HookContext,
            details: FlagEvaluationDetails[Any],
            hints: Any,
        ) -> None:
            metadata = hook_context.provider_metadata
            assert metadata is not None
            seen.append((details.flag_key, details.variant, metadata.name))

    client, options = new_client(), FlagEvaluationOptions([Customer()])
    client.get_string_value(TITLE, "x", flag_evaluation_options=options)
    client.get_boolean_value(TITLE, False, flag_evaluation_options=options)

    [(flag, variant, name)] = seen
    assert (flag, name) == (TITLE, "MoEngage")
    assert variant


def test_it_is_made_like_the_middleware(tmp_path: Any) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("workspace: {data_center: sandbox}\nroutes: []\n")
    first, second = MoEngageProvider(file), MoEngageProvider(config=str(file))

    assert first.runtime is second.runtime
    with pytest.raises(SettingsError, match="timout"):
        MoEngageProvider({"routes": [], "timout": 3})


# --- tracking -------------------------------------------------------------------------


def details(**attributes: Any) -> TrackingEventDetails:
    return TrackingEventDetails(attributes=attributes)


async def test_track_on_a_page_counts_for_its_visitor(
    sandbox: Sandbox, new_client: NewClient
) -> None:
    client = new_client()

    async def handler(request: Request) -> Response:
        client.track("impression", None, details(key=TITLE))
        client.track("click", ALICE, details(key=BANNER, b_id="Shop Now"))
        return Response()

    site = Site(handler)
    await site.get(customer="alice")
    await site.delivered()

    assert (sandbox.impressions(BANNER), sandbox.clicks(BANNER, "Shop Now")) == (1, 1)
    assert {one["customer_id"] for one in sandbox.events} == {"alice"}


@pytest.mark.parametrize("loop", [True, False])
def test_track_elsewhere_is_delivered_at_shutdown(
    sandbox: Sandbox, new_client: NewClient, loop: bool
) -> None:
    client = new_client()

    def track() -> None:
        client.track("MOE_PERSONALIZATION_MESSAGE_SHOWN", ALICE, details(key=BANNER))
        client.track("click", ALICE, details(key=TITLE, b_id="Shop Now"))
        variants.add(client.get_string_details(TITLE, "x", ALICE).variant)

    variants: set[str | None] = set()

    async def on_a_loop() -> None:
        track()

    asyncio.run(on_a_loop()) if loop else track()
    api.shutdown()

    assert (sandbox.impressions(BANNER), sandbox.clicks(BANNER, "Shop Now")) == (1, 1)
    contexts = [one["attributes"] for one in sandbox.events]
    assert {one["moe_variation_id"] for one in contexts} == variants


def test_what_cannot_be_tracked_is_reported(
    sandbox: Sandbox, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = new_client()
    caplog.set_level("INFO")

    for _ in range(2):
        client.track("purchase", ALICE, TrackingEventDetails(9.5))
    client.track("click", ALICE)
    client.track("click", None, details(key=BANNER))
    client.track("click", ALICE, details(key="no-such-key"))
    client.track("click", ALICE, details(key=BANNER, b_id=object()))

    logged = [line for line in caplog.messages if line.startswith("track_")]
    for event in (
        "track_ignored_event name=purchase",
        "track_ignored_event name=click",
        "track_refused",
        "track_without_match key=no-such-key reason=no_match",
        "track_failed error=",
    ):
        assert sum(event in line for line in logged) == 1, event
    assert "alice" not in caplog.text
    assert sandbox.events == []


def test_threads_share_a_provider(sandbox: Sandbox, new_client: NewClient) -> None:
    client = new_client()

    def evaluate(number: int) -> str:
        context = EvaluationContext(f"c{number % 4}")
        return client.get_string_value(TITLE, "x", context)

    with ThreadPoolExecutor(16) as threads:
        seen = [*threads.map(evaluate, range(16))]

    assert "x" not in seen
    assert fetches(sandbox) == 4
