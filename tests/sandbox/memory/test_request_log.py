"""What is remembered of the last calls, and that no credentials are shown."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

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
    assert fetched["at"] == api.sandbox.clock()


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


async def test_bodies_are_cut_and_may_be_any_bytes(api: Api) -> None:
    for body in ({"long": "x" * 10_000}, b" " * 5_000_000, b"\xff\x00\xed\xa0\x80"):
        await api.fetch(body)

    odd, too_large, long = await listed(api)

    assert len(long["request_body"]) == MAX_SHOWN
    assert long["request_size"] == 10_012
    assert (too_large["status"], too_large["request_body"]) == (413, "")
    assert too_large["request_size"] is None
    assert odd["status"] == 400
    assert "\ufffd" in odd["request_body"]


async def test_only_the_last_calls_are_kept_until_a_reset(api: Api) -> None:
    for _ in range(KEPT + 1):
        await api.metadata()
    await api.fetch({})
    await api.metadata()

    async def numbers(query: str = "") -> list[int]:
        return [one["number"] for one in await listed(api, query)]

    last = KEPT + 3
    assert await numbers() == list(range(last, 3, -1))
    assert await numbers("?endpoint=metadata&limit=2") == [last, last - 2]
    assert await numbers("?limit=1") == [last]
    assert len(await numbers("?limit=9999")) == KEPT
    assert await numbers("?limit=1&endpoint=fetch") == [last - 1]
    assert await numbers("?endpoint=other") == []
    api.sandbox.reset()
    assert await numbers() == []


async def test_faults_are_reported_with_the_call_they_hit(api: Api) -> None:
    api.sandbox.fault("fetch", status=503, latency=0.001)
    api.sandbox.fault("events", lose_response=True)
    api.sandbox.fault("metadata", drop=True)
    await api.fetch({})
    for lost in (api.report(action()), api.metadata()):
        with pytest.raises(httpx.TransportError):
            await lost

    dropped, lost_one, failed = await listed(api)

    assert (failed["status"], failed["fault"]) == (503, "status 503, latency 0.001")
    assert (lost_one["status"], lost_one["fault"]) == (None, "lose_response")
    assert "success" in lost_one["response_body"]
    assert (dropped["status"], dropped["response_body"]) == (None, "")
