"""What is beside the API, and the ASGI manners of the whole."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Sandbox, embedded, embedded_transport

from .calls import ACTION, HEADERS, Api, action, element


async def report(api: Api, *uuids: str) -> None:
    actions = [ACTION | {"moe_event_uuid": uuid} for uuid in uuids]
    await api.report({"elements": [element(actions=actions)]})


async def test_events_are_listed_newest_last(api: Api) -> None:
    await report(api, "a", "b")
    await report(api, "c")

    for query, uuids in (("", "abc"), ("?since=0", "abc"), ("?since=2", "c")):
        document = (await api.send("GET", f"/_sandbox/events{query}")).json()
        assert [event["moe_event_uuid"] for event in document["events"]] == [*uuids]
        assert document["count"] == 3
    for nonsense in ("-1", "x", "", "1.5", "²", "9" * 5000):
        response = await api.send("GET", f"/_sandbox/events?since={nonsense}")
        assert response.status_code == 400
        assert "since" in response.json()["description"]


async def test_root_says_what_this_is_but_not_the_key(api: Api) -> None:
    response = await api.send("GET", "/", headers={})

    assert response.json()["title"] == "MoEngage Personalize sandbox"
    assert "/v1/experiences/fetch" in response.json()["api"]
    assert "/_sandbox/web_sdk.js" in response.json()["tools"]
    assert "sandbox-key" not in response.text
    assert response.json()["strict"] is False
    assert response.json()["problems"] == []


async def test_head_of_the_metadata_has_no_body(api: Api) -> None:
    whole = await api.metadata()
    head = await api.send("HEAD", "/v1/experiences/metadata")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


async def test_lifespan_starts_and_stops(sandbox: Sandbox) -> None:
    incoming: list[dict[str, Any]] = [
        {"type": "lifespan.startup"},
        {"type": "lifespan.shutdown"},
    ]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    await sandbox(scope, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_client_that_leaves_in_the_middle_stores_nothing(
    sandbox: Sandbox,
) -> None:
    incoming: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"elements": [', "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/experiences/events",
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        """The client is gone."""

    await sandbox(scope, receive, send)

    assert sandbox.events == []


async def test_mistake_in_the_sandbox_is_a_plain_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken_letters() -> str:
        raise RuntimeError("no letters left")

    api = Api(Sandbox(letters=broken_letters))

    response = await api.report(action())

    assert response.status_code == 500
    assert response.json()["title"] == "Internal Server Error"
    assert caplog.messages == ["sandbox_failed path=/v1/experiences/events"]


def test_embedded_sandbox_is_one_for_all_threads_and_loops() -> None:
    embedded().reset()
    statuses: list[int] = []

    async def call(number: int) -> None:
        uuids = [{"moe_event_uuid": f"{number}-{n % 20}"} for n in range(40)]
        async with httpx.AsyncClient(transport=embedded_transport()) as client:
            for uuid in uuids:
                response = await client.post(
                    "https://sdk-01.moengage.com/v1/experiences/events",
                    json=action(**uuid),
                    headers=HEADERS,
                )
                statuses.append(response.status_code)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: asyncio.run(call(number)), range(4)))

    assert statuses == [200] * 160
    assert len(embedded().events) == 80
    assert embedded().calls["events"] == 160
    embedded().reset()
