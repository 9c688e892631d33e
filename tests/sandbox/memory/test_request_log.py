"""What is remembered of the last calls, and that no credentials are shown."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.memory.request_log import KEPT, MAX_SHOWN

from ..calls import HEADERS, Api, action, basic


async def listed(api: Api, query: str = "") -> list[dict[str, Any]]:
    response = await api.send("GET", f"/_sandbox/requests{query}")
    requests: list[dict[str, Any]] = response.json()["requests"]
    return requests


async def test_calls_are_listed_newest_first(api: Api) -> None:
    await api.metadata("?status=Active")
    await api.report(action())
    await api.fetch({"experience_key": ["homepage-banner"]})

    fetched, reported, catalogue = await listed(api)

    assert fetched["path"] == "/v1/experiences/fetch"
    assert fetched["request_body"] == '{"experience_key": ["homepage-banner"]}'
    assert fetched["response_body"].startswith('{"experiences":')
    assert fetched["response_size"] == len(fetched["response_body"])
    assert (reported["endpoint"], reported["method"]) == ("events", "POST")
    assert catalogue["path"] == "/v1/experiences/metadata?status=Active"
    assert [one["status"] for one in (fetched, reported, catalogue)] == [200, 200, 200]
    assert [one["number"] for one in (fetched, reported, catalogue)] == [3, 2, 1]
    assert 0 < fetched["seconds"] < 5


async def test_credentials_are_masked_and_the_rest_is_not(api: Api) -> None:
    secrets = {"Authorization": basic("sandbox", "se-cret"), "Cookie": "sid=se-cret"}
    await api.send("POST", "/v1/experiences/fetch", {}, HEADERS | secrets)
    bare = {"Authorization": "se-cret"}
    await api.send("POST", "/v1/experiences/fetch", {}, HEADERS | bare)

    response = await api.send("GET", "/_sandbox/requests")

    second, first = response.json()["requests"]
    assert first["headers"]["authorization"] == "Basic ***"
    assert first["headers"]["cookie"] == "***"
    assert second["headers"]["authorization"] == "***"
    assert first["headers"]["moe-appkey"] == "sandbox"
    assert basic("sandbox", "se-cret").split()[1] not in response.text
    assert "se-cret" not in response.text


async def test_bodies_are_cut(api: Api) -> None:
    await api.fetch({"long": "x" * 10_000})

    (one,) = await listed(api)

    assert len(one["request_body"]) == MAX_SHOWN
    assert one["request_size"] == 10_012


async def test_body_that_is_larger_than_we_take_is_not_kept(api: Api) -> None:
    await api.fetch(b" " * 5_000_000)

    (one,) = await listed(api)

    assert (one["status"], one["request_body"]) == (413, "")
    assert one["request_size"] is None


async def test_any_bytes_can_be_listed(api: Api) -> None:
    await api.fetch(b"\xff\x00\xed\xa0\x80")

    (one,) = await listed(api)

    assert one["status"] == 400
    assert "\ufffd" in one["request_body"]


async def test_only_the_last_calls_are_kept(api: Api) -> None:
    for _ in range(KEPT + 3):
        await api.metadata()

    numbers = [one["number"] for one in await listed(api)]

    assert numbers == list(range(KEPT + 3, 3, -1))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [3, 2, 1]),
        ("?endpoint=metadata", [3, 1]),
        ("?limit=1", [3]),
        ("?limit=1&endpoint=fetch", [2]),
        ("?endpoint=other", []),
    ],
)
async def test_list_can_be_narrowed(api: Api, query: str, numbers: list[int]) -> None:
    await api.metadata()
    await api.fetch({})
    await api.metadata()

    assert [one["number"] for one in await listed(api, query)] == numbers


async def test_faults_are_reported_with_the_call_they_hit(api: Api) -> None:
    api.sandbox.fault("fetch", status=503)
    api.sandbox.fault("events", lose_response=True)
    api.sandbox.fault("metadata", drop=True)
    await api.fetch({})
    for lost in (api.report(action()), api.metadata()):
        with pytest.raises(httpx.TransportError):
            await lost

    dropped, lost_one, failed = await listed(api)

    assert (failed["status"], failed["fault"]) == (503, "status 503")
    assert (lost_one["status"], lost_one["fault"]) == (None, "lose_response")
    assert "success" in lost_one["response_body"]
    assert (dropped["status"], dropped["response_body"]) == (None, "")


async def test_reset_forgets_the_calls(api: Api) -> None:
    await api.metadata()

    api.sandbox.reset()

    assert await listed(api) == []


async def test_time_of_a_call_is_the_sandboxs(api: Api, sandbox: Sandbox) -> None:
    await api.metadata()

    assert sandbox.requests.latest()[0].at == sandbox.clock()
