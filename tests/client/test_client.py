from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest

from moe_middleware import (
    AnswerError,
    APIError,
    AuthenticationError,
    BudgetError,
    DeadlineError,
    Event,
    Identity,
    InvalidRequestError,
    MoEngageClient,
    MoEngageError,
    RateLimitedError,
    Reason,
    Settings,
    TransportError,
)
from moe_middleware.client.budget import CallBudget, Taken
from moe_middleware.network.published_limits import Published
from moe_middleware.sandbox import Sandbox

from ..makers import CONTEXT, event
from ..rows import each

Handler = Callable[[httpx.Request], httpx.Response]
FETCHED = {
    "experiences": {
        "hero": {
            "payload": {"Title": {"value": "Sale", "data_type": "string"}},
            "experience_context": CONTEXT,
        }
    }
}


def settings(**sections: Any) -> Settings:
    return Settings(workspace_id="W1", api_key="K1", data_center="02", **sections)


def client(handler: Handler, made: Settings | None = None) -> MoEngageClient:
    return MoEngageClient(
        made or settings(),
        transport=lambda: httpx.MockTransport(handler),
        clock=lambda: 1000.0,
    )


class Answers:
    """A server that gives these answers, one a call; it keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def good() -> httpx.Response:
    return httpx.Response(200, json=FETCHED)


async def test_a_fetch_is_the_documented_request() -> None:
    server = Answers(good())

    fetched = await client(server).fetch(
        ["hero"],
        identity=Identity(customer_id="alice"),
        attributes={"utm_medium": "email"},
    )

    [request] = server.requests
    assert str(request.url) == "https://sdk-02.moengage.com/v1/experiences/fetch"
    assert request.method == "POST"
    assert request.headers["authorization"] == "Basic VzE6SzE="
    assert request.headers["moe-appkey"] == "W1"
    assert request.headers["content-type"] == "application/json"
    assert orjson.loads(request.content) == {
        "utm_medium": "email",
        "experience_key": ["hero"],
        "identifiers": {"customer_id": "alice"},
        "customer_id": "alice",
    }
    assert fetched["hero"].Title == "Sale"
    assert fetched["hero"].experience_context == CONTEXT


async def test_a_base_url_takes_the_place_of_the_data_center() -> None:
    server = Answers(good())
    made = Settings(workspace_id="W", api_key="K", base_url="http://127.0.0.1:9/v1/")

    await client(server, made).fetch(["hero"])

    assert str(server.requests[0].url) == "http://127.0.0.1:9/v1/experiences/fetch"


@each(
    ("answer", "kind", "reason"),
    [
        (httpx.Response(400), InvalidRequestError, "invalid_request"),
        (httpx.Response(200, html="<html>"), AnswerError, "bad_answer"),
        (httpx.Response(302, headers={"location": "/"}), AnswerError, "bad_answer"),
        (httpx.Response(200, content=b"x" * 5_000_000), AnswerError, "bad_answer"),
        (httpx.ConnectError("refused"), TransportError, "unreachable"),
        (httpx.RemoteProtocolError("cut"), TransportError, "unreachable"),
        (httpx.ReadTimeout("slow"), DeadlineError, "timeout"),
    ],
)
async def test_every_answer_becomes_its_error(
    answer: Any, kind: type[MoEngageError], reason: str
) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=answer.content
        )

    with pytest.raises(kind) as raised:
        await client(server).fetch(["hero"])

    assert type(raised.value) is kind
    assert raised.value.reason == Reason(reason)


@pytest.mark.parametrize(
    "failure", [httpx.Response(503), httpx.ConnectError("refused")]
)
async def test_a_passing_failure_is_tried_again(
    failure: httpx.Response | Exception,
) -> None:
    server = Answers(failure, good())

    fetched = await client(server).fetch(["hero"], timeout=5)

    assert fetched["hero"]
    assert len(server.requests) == 2


async def test_three_tries_are_all() -> None:
    server = Answers(*(httpx.Response(503) for _ in range(5)))

    with pytest.raises(APIError):
        await client(server).fetch(["hero"], timeout=5)

    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401])
async def test_a_final_refusal_is_not_tried_again(status: int) -> None:
    server = Answers(httpx.Response(status))

    with pytest.raises(APIError):
        await client(server).fetch(["hero"])

    assert len(server.requests) == 1


async def test_a_rate_limit_that_ends_after_the_deadline_is_not_waited_for() -> None:
    server = Answers(httpx.Response(429, headers={"x-ratelimit-reset": "30"}))
    started = time.monotonic()

    with pytest.raises(RateLimitedError) as raised:
        await client(server).fetch(["hero"], timeout=5)

    assert raised.value.retry_after == 30
    assert time.monotonic() - started < 4


async def test_a_rate_limit_that_ends_in_time_is_waited_for() -> None:
    server = Answers(httpx.Response(429, headers={"retry-after": "0.05"}), good())

    fetched = await client(server).fetch(["hero"], timeout=5)

    assert fetched["hero"]


async def test_the_deadline_holds_for_all_tries_together() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    hanging = MoEngageClient(settings(), transport=lambda: httpx.MockTransport(hang))

    with pytest.raises(DeadlineError, match=r"within 0\.05 seconds"):
        await hanging.fetch(["hero"], timeout=0.05)


async def test_a_cancelled_fetch_stays_cancelled() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    hanging = MoEngageClient(settings(), transport=lambda: httpx.MockTransport(hang))
    task = asyncio.create_task(hanging.fetch(["hero"], timeout=60))
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_401_tries_the_second_key_and_stays_with_it() -> None:
    server = Answers(httpx.Response(401), good(), good())
    rotating = Settings(workspace_id="W1", api_keys=["new", "old"])

    made = client(server, rotating)
    await made.fetch(["hero"])
    await made.fetch(["hero"])

    sent = [request.headers["authorization"] for request in server.requests]
    assert sent[0] != sent[1] == sent[2]


async def test_two_refused_keys_are_a_refusal() -> None:
    server = Answers(httpx.Response(401), httpx.Response(401))

    with pytest.raises(AuthenticationError):
        await client(server, Settings(workspace_id="W1", api_keys=["a", "b"])).fetch()

    assert len(server.requests) == 2


def keys_of(request: httpx.Request) -> list[str]:
    keys: list[str] = orjson.loads(request.content)["experience_key"]
    return keys


async def test_more_than_25_keys_are_fetched_at_the_same_time() -> None:
    arrived: list[int] = []
    all_here = asyncio.Event()

    async def server(request: httpx.Request) -> httpx.Response:
        arrived.append(len(keys_of(request)))
        if len(arrived) == 3:
            all_here.set()
        await all_here.wait()
        one = FETCHED["experiences"]["hero"]
        return httpx.Response(
            200, json={"experiences": dict.fromkeys(keys_of(request), one)}
        )

    made = MoEngageClient(settings(), transport=lambda: httpx.MockTransport(server))
    keys = [f"key-{number:02}" for number in range(60)]

    fetched = await made.fetch(keys, timeout=5)

    assert sorted(arrived) == [10, 25, 25]
    assert all(fetched[key] for key in keys)


async def test_where_one_of_several_calls_fails_its_keys_say_why() -> None:
    def server(request: httpx.Request) -> httpx.Response:
        if "key-00" in keys_of(request):
            return httpx.Response(400)
        return httpx.Response(200, json={"experiences": {}})

    fetched = await client(server).fetch([f"key-{number:02}" for number in range(30)])

    assert fetched["key-00"].reason is Reason.INVALID_REQUEST
    assert fetched["key-29"].reason is Reason.NO_MATCH


async def test_where_every_call_fails_the_error_is_raised() -> None:
    def server(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400)

    with pytest.raises(InvalidRequestError):
        await client(server).fetch([f"key-{number:02}" for number in range(30)])


async def test_metadata_asks_for_the_statuses() -> None:
    row = {"experience_key": "hero", "experience_name": "Hero", "status": "Active"}
    server = Answers(
        httpx.Response(200, json={"metadata": {"count": 1, "experiences": [row]}})
    )

    [listed] = await client(server).metadata(["Active", "Paused"])

    [request] = server.requests
    assert request.method == "GET"
    assert request.url.params["status"] == "Active,Paused"
    assert (listed.key, listed.name, listed.status) == ("hero", "Hero", "Active")


async def test_the_client_stands_alone_from_fetch_to_report() -> None:
    sandbox = Sandbox()
    made = MoEngageClient(
        workspace_id="sandbox",
        api_key="sandbox-key",
        transport=lambda: httpx.ASGITransport(sandbox),
    )

    async with made:
        listed = await made.metadata()
        fetched = await made.fetch(
            ["homepage-banner"], identity=Identity(customer_id="alice")
        )
        shown = Event.impression(fetched["homepage-banner"], "alice")
        await made.report([shown])
        await made.report([shown])

    assert "homepage-banner" in {one.key for one in listed}
    [stored] = sandbox.events
    assert stored["customer_id"] == "alice"
    assert stored["moe_event_uuid"] == shown.uuid


async def test_a_key_never_shows_in_an_error_or_a_repr() -> None:
    made = Settings(workspace_id="W1", api_key="s3cret-key")
    server = Answers(httpx.Response(401, json={"title": "Authentication required"}))

    with pytest.raises(AuthenticationError) as raised:
        await client(server, made).fetch(["hero"])

    assert "s3cret" not in repr(made) + str(raised.value) + repr(raised.value)


BOMB = gzip.compress(b"{" + b" " * 5_000_000)


class Packed(httpx.AsyncByteStream):
    """A bomb that would be unpacked where it is read as httpx reads answers."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BOMB


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP"])
@pytest.mark.parametrize("status", [200, 400])
async def test_an_encoding_that_was_not_asked_for_is_refused(
    encoding: str, status: int
) -> None:
    requests = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        headers = {"content-encoding": encoding}
        return httpx.Response(status, headers=headers, stream=Packed())

    made = client(server, settings(fetch={"tries": 1}))

    with pytest.raises(AnswerError, match="encoded as"):
        await made.fetch(["hero"])
    with pytest.raises(AnswerError, match="encoded as"):
        await made.metadata()
    assert {one.headers["accept-encoding"] for one in requests} == {"identity"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (429, RateLimitedError),
        (500, APIError),
    ],
)
async def test_a_refusal_says_enough_whatever_its_encoding(
    status: int, error: type[Exception]
) -> None:
    headers = {"content-encoding": "gzip", "retry-after": "30"}
    made = client(
        lambda _: httpx.Response(status, headers=headers, stream=Packed()),
        settings(fetch={"tries": 1}),
    )

    with pytest.raises(error) as raised:
        await made.fetch(["hero"])

    assert getattr(raised.value, "retry_after", 30) == 30


async def test_a_report_that_was_taken_is_not_sent_again_for_its_answers_encoding() -> (
    None
):
    headers = {"content-encoding": "gzip"}

    await client(
        lambda _: httpx.Response(200, headers=headers, stream=Packed())
    ).report([event()])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", '{"status": "success"}'),
        ("", ' {"status": "success"}'),
        ("application/json", ""),
    ],
)
async def test_a_report_is_taken_with_json_or_nothing(kind: str, body: str) -> None:
    headers = {"content-type": kind} if kind else {}

    await client(lambda _: httpx.Response(200, headers=headers, content=body)).report(
        [event()]
    )


@pytest.mark.parametrize(
    ("kind", "body", "encoding"),
    [
        ("text/html", "<h1>Log in to the Wi-Fi</h1>", "identity"),
        ("text/html; charset=utf-8", "", "identity"),
        ("text/html", "packed", "gzip"),
        ("application/json", "<h1>Our shop</h1>", "identity"),
        ("text/plain", "OK", "identity"),
    ],
)
async def test_a_page_is_no_answer_to_a_report(
    kind: str, body: str, encoding: str
) -> None:
    """A network's login page, or a site that answers everything, has no events."""
    headers = {"content-type": kind, "content-encoding": encoding}
    made = client(
        lambda _: httpx.Response(
            200, headers=headers, stream=httpx.ByteStream(body.encode())
        )
    )

    with pytest.raises(AnswerError):
        await made.report([event()])


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" "

    made = client(lambda request: httpx.Response(200, stream=Endless()))

    with pytest.raises(MoEngageError):
        await made.fetch(["hero"], timeout=0.5)


async def test_a_large_answer_is_read_too() -> None:
    body = {
        "experiences": {**FETCHED["experiences"], "more": {"text": "x" * 1_000_000}}
    }

    fetched = await client(lambda _: httpx.Response(200, json=body)).fetch(["hero"])

    assert fetched["hero"].payload == {"Title": "Sale"}


@pytest.mark.parametrize("wrong", [httpx.AsyncClient, object])
async def test_a_transport_of_another_kind_says_what_to_pass(wrong: Any) -> None:
    await another_kind(wrong)


@pytest.mark.parametrize("is_made", [True, False])
async def test_httpx2_is_another_kind(is_made: bool) -> None:
    # The lowest versions do without it.
    kind = pytest.importorskip("httpx2").AsyncHTTPTransport

    await another_kind(kind() if is_made else kind)


async def another_kind(wrong: Any) -> None:
    kind = r"transport (is|makes) \w+\.\w+: .* httpx\.AsyncBaseTransport"

    with pytest.raises(TypeError, match=kind):
        await MoEngageClient(settings(), transport=wrong).fetch(["hero"])


# --- the budget ------------------------------------------------------------


class Turns:
    """A budget that says these things, one a take."""

    def __init__(self, *turns: Taken) -> None:
        self.turns = list(turns)
        self.learnt: list[tuple[Taken, Published]] = []

    async def take(self, within: float = 0.0) -> Taken:
        return self.turns.pop(0)

    def learn(self, taken: Taken, published: Published) -> None:
        self.learnt.append((taken, published))

    async def warm(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def with_budget(budget: CallBudget, *answers: httpx.Response) -> MoEngageClient:
    server = Answers(*answers)
    return MoEngageClient(
        settings(), budget=budget, transport=lambda: httpx.MockTransport(server)
    )


@pytest.mark.parametrize(
    "turns",
    [
        [Taken(True)],
        [Taken(True, wait=0.05)],
        [Taken(False, wait=0.05), Taken(True)],
        [Taken(False, wait=0.05), Taken(False, wait=0.001), Taken(True, wait=0.05)],
    ],
)
async def test_a_short_wait_for_a_turn_is_better_than_no_answer(
    turns: list[Taken],
) -> None:
    fetched = await with_budget(Turns(*turns), good()).fetch(["hero"], timeout=5)

    assert fetched["hero"]


@pytest.mark.parametrize("wait", [4.0, 60.0])
async def test_a_turn_that_comes_too_late_for_the_answer_is_not_waited_for(
    wait: float,
) -> None:
    started = time.monotonic()

    with pytest.raises(BudgetError) as raised:
        await with_budget(Turns(Taken(False, wait=wait))).fetch(["hero"], timeout=5)

    assert raised.value.retry_after == wait
    assert time.monotonic() - started < 3


async def test_the_budget_hears_the_limits_of_each_answer() -> None:
    taken = Taken(True, number=7, own=3)
    budget = Turns(taken)
    headers = {"x-ratelimit-remaining": "12", "x-ratelimit-reset": "30"}

    answer = httpx.Response(200, json=FETCHED, headers=headers)
    await with_budget(budget, answer).fetch(["hero"])

    [(permit, published)] = budget.learnt
    assert permit is taken
    assert (published.remaining, published.resets_in, published.refused) == (
        12,
        30,
        False,
    )


# --- what callers and transports hand in -----------------------------------


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), KeyError("x")])
async def test_what_a_transport_of_ones_own_raises_is_a_transport_error(
    error: Exception,
) -> None:
    with pytest.raises(TransportError) as raised:
        await client(Answers(*[error] * 3)).fetch(["hero"], timeout=5)

    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "attributes", [{"a": "\ud800"}, {"a": 10**30}, {"a": object()}, {1: "a"}]
)
async def test_what_json_has_no_form_for_is_not_sent(attributes: Any) -> None:
    server = Answers(good())

    with pytest.raises(InvalidRequestError, match="not sent"):
        await client(server).fetch(["hero"], attributes=attributes)

    assert server.requests == []


async def test_keys_that_are_a_text_say_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"\['hero'\]"):
        await client(Answers(good())).fetch("hero")
