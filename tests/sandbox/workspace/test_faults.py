from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Fault, Sandbox, Workspace
from moe_middleware.sandbox.workspace.faults import NOISE, parse_fault_form

from ...rows import each
from ..calls import Api, action


async def test_status_hits_as_many_calls_as_ordered(api: Api) -> None:
    api.sandbox.fault("fetch", status=503, times=2)

    answers = [await api.fetch({}) for _ in range(3)]

    assert [one.status_code for one in answers] == [503, 503, 200]
    assert answers[0].json()["title"] == "Service Unavailable"
    assert "x-ratelimit-reset" in answers[0].headers


async def test_fault_hits_its_endpoint_alone_or_all_until_reset(api: Api) -> None:
    async def statuses() -> list[int]:
        calls = api.fetch({}), api.metadata(), api.report(action())
        return [(await one).status_code for one in calls]

    api.sandbox.fault("events", status=500)
    assert await statuses() == [200, 200, 500]
    assert api.sandbox.events == []

    api.sandbox.fault("*", status=500, times=None)
    assert await statuses() == [500] * 3
    # Only calls of an endpoint are counted.
    await api.send("GET", "/_sandbox/events")
    await api.send("POST", "/v1/experiences/other")
    assert api.sandbox.calls == {"fetch": 2, "metadata": 2, "events": 2}

    assert (await api.send("POST", "/_sandbox/reset")).json() == {"status": "success"}
    assert (api.sandbox.calls, api.sandbox.calls["fetch"]) == ({}, 0)
    assert await statuses() == [200] * 3
    assert (await api.fetch({})).headers["x-ratelimit-remaining"] == "9998"
    assert len(api.sandbox.events) == 1


async def test_faults_hit_in_the_order_they_were_ordered(api: Api) -> None:
    api.sandbox.fault("fetch", status=500)
    api.sandbox.fault("*", status=599)
    api.sandbox.fault("fetch", status=429)

    statuses = [(await api.fetch({})).status_code for _ in range(4)]

    assert statuses == [500, 599, 429, 200]


async def test_latency_delays_the_real_answer(api: Api) -> None:
    api.sandbox.fault("fetch", latency=0.05)
    started = time.perf_counter()

    response = await api.fetch({})

    assert time.perf_counter() - started >= 0.049
    assert response.status_code == 200


async def test_caller_that_gives_up_during_the_latency_leaves_no_event(
    api: Api,
) -> None:
    api.sandbox.fault("events", latency=60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await api.report(action())

    assert api.sandbox.events == []


async def test_dropped_call_gets_no_answer_and_does_nothing(api: Api) -> None:
    api.sandbox.fault("events", drop=True)

    with pytest.raises(httpx.TransportError):
        await api.report(action())

    assert api.sandbox.events == []
    assert api.sandbox.calls["events"] == 1


async def test_lost_response_leaves_the_event_behind(api: Api) -> None:
    api.sandbox.fault("events", lose_response=True)

    with pytest.raises(httpx.TransportError):
        await api.report(action())
    retried = await api.report(action())

    assert retried.status_code == 200
    assert len(api.sandbox.events) == 1


async def test_fault_is_ordered_and_listed_over_http(api: Api) -> None:
    order = {"path": "fetch", "status": 503, "latency": 0.001, "times": 3}

    ordered = await api.send("POST", "/_sandbox/faults", order)
    hit = await api.fetch({})
    listed = await api.send("GET", "/_sandbox/faults")

    (first,), (then,) = ordered.json()["faults"], listed.json()["faults"]
    assert first == first | order | {"drop": False, "rate": 1.0, "id": 1}
    assert hit.status_code == 503
    assert then == first | {"times": 2}
    endless = await api.send("POST", "/_sandbox/faults", {"drop": True, "times": None})
    fault = endless.json()["faults"][1]
    assert (fault["path"], fault["times"]) == ("*", None)


@each(
    ("order", "why"),
    [
        ({}, "Set at least one of status, latency, jitter, drop, lose_response, drip"),
        ({"seed": 1}, "Set at least one of status, latency, jitter, drop, lose_re"),
        ({"status": 1, "rate": 7}, "status is 1: use 400 to 599. rate is 7"),
        ({"status": 503, "path": "other"}, "path is 'other'"),
        ({"status": 200}, "status is 200"),
        ({"status": "503"}, "status is '503'"),
        ({"status": True}, "status is True"),
        ({"latency": -1}, "latency is -1"),
        ({"latency": 3601}, "latency is 3601"),
        ({"status": 503, "times": 0}, "times is 0"),
        ({"status": 503, "times": 1.5}, "times is 1.5"),
        ({"drop": "yes"}, "drop is 'yes'"),
        ({"lose_response": 1}, "lose_response is 1"),
        ({"stauts": 503}, "Unknown: stauts."),
        ({"jitter": "1"}, "jitter is '1'"),
        ({"drop": True, "rate": 0}, "rate is 0"),
        ({"drop": True, "rate": 1.1}, "rate is 1.1"),
        ({"drip": 0}, "drip is 0"),
        ({"garbage": "yes"}, "garbage is 'yes'"),
        ({"drop": True, "seed": 0.5}, "seed is 0.5"),
        ([], "Send a JSON object"),
        (b"{", "Could not decode"),
    ],
)
async def test_fault_that_makes_no_sense_is_refused(order: Any, why: str) -> None:
    api = Api(Sandbox())
    response = await api.send("POST", "/_sandbox/faults", order)

    assert response.status_code == 400
    assert why in response.json()["description"]
    assert (await api.send("GET", "/_sandbox/faults")).json() == {"faults": []}


async def test_faults_are_taken_back_over_http_one_or_all(api: Api) -> None:
    for path in ("fetch", "events", "metadata"):
        api.sandbox.fault(path, status=500)

    one = await api.send("DELETE", "/_sandbox/faults?id=2")
    gone = await api.send("DELETE", "/_sandbox/faults?id=2")
    nonsense = await api.send("DELETE", "/_sandbox/faults?id=x")
    fetched = await api.fetch({})
    rest = await api.send("DELETE", "/_sandbox/faults")

    assert [fault["id"] for fault in one.json()["faults"]] == [1, 3]
    assert [gone.status_code, nonsense.status_code] == [404, 400]
    assert fetched.status_code == 500
    assert rest.json() == {"faults": []}
    assert (await api.metadata()).status_code == 200


def test_jitter_makes_calls_wait_for_different_times(api: Api) -> None:
    api.sandbox.fault("fetch", latency=0.01, jitter=0.05, times=None)

    hits = [api.sandbox.faults.take("fetch") for _ in range(50)]

    delays = [hit.delay for hit in hits if hit]
    assert len(set(delays)) == 50
    assert 0.01 <= min(delays) < 0.02
    assert 0.05 < max(delays) <= 0.06


def test_rate_hits_its_share_of_all_calls(api: Api) -> None:
    api.sandbox.fault("fetch", status=503, rate=0.3)

    hits = [bool(api.sandbox.faults.take("fetch")) for _ in range(400)]

    assert 0.23 < hits.count(True) / 400 < 0.37


def draws(sandbox: Sandbox, path: str = "fetch") -> list[bool]:
    return [bool(sandbox.faults.take(path)) for _ in range(64)]


def test_seed_chooses_the_calls_anew_for_each_fault_and_after_a_reset() -> None:
    fault = Fault(path="fetch", drop=True, rate=0.5)
    sandbox = Sandbox(Workspace(faults=(fault, replace(fault, path="events"))))
    first, other = draws(sandbox), draws(sandbox, "events")
    sandbox.reset()

    assert draws(sandbox) == first != other
    assert draws(Sandbox(Workspace(faults=(replace(fault, seed=1),)))) != first


async def test_call_that_one_rate_spares_may_hit_the_next_fault(api: Api) -> None:
    api.sandbox.fault("fetch", status=500, rate=0.5, times=3)
    api.sandbox.fault("fetch", status=502, times=None)

    statuses = [(await api.fetch({})).status_code for _ in range(64)]

    assert (statuses.count(500), statuses.count(502)) == (3, 61)


async def test_garbage_is_no_json_though_the_event_is_stored(api: Api) -> None:
    api.sandbox.fault("events", garbage=True)

    response = await api.report(action())

    assert response.status_code == 200
    assert len(response.content) == NOISE
    with pytest.raises(ValueError, match=r"decode|JSON|Expecting"):
        response.json()
    assert len(api.sandbox.events) == 1
    api.sandbox.fault("events", garbage=True, status=502)
    failed = await api.report(action(moe_event_uuid="other"))
    assert (failed.status_code, len(failed.content)) == (502, NOISE)
    assert len(api.sandbox.events) == 1


def test_form_becomes_a_fault_without_its_empty_fields() -> None:
    form = {
        "path": "fetch",
        "status": "503",
        "latency": "0.5",
        "times": "all",
        "rate": "",
        "drop": "on",
        "seed": "7",
    }

    assert parse_fault_form(form.items()) == Fault(
        path="fetch", status=503, latency=0.5, times=None, drop=True, seed=7
    )


def test_fault_in_python_is_checked_too(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="status is 99"):
        sandbox.fault("fetch", status=99)
