from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Fault, Sandbox, Workspace
from moe_middleware.sandbox.workspace.faults import NOISE, parse_fault_form

from ..calls import Api, action


async def test_status_hits_as_many_calls_as_ordered(api: Api) -> None:
    api.sandbox.fault("fetch", status=503, times=2)

    answers = [await api.fetch({}) for _ in range(3)]

    assert [one.status_code for one in answers] == [503, 503, 200]
    assert answers[0].json()["title"] == "Service Unavailable"
    assert "x-ratelimit-reset" in answers[0].headers


async def test_fault_leaves_other_endpoints_alone(api: Api) -> None:
    api.sandbox.fault("events", status=500)

    assert (await api.fetch({})).status_code == 200
    assert (await api.metadata()).status_code == 200
    assert (await api.report(action())).status_code == 500
    assert api.sandbox.events == []


async def test_star_hits_every_endpoint_until_reset(api: Api) -> None:
    api.sandbox.fault("*", status=500, times=None)

    during = [await api.fetch({}), await api.metadata(), await api.report(action())]
    api.sandbox.reset()

    assert [one.status_code for one in during] == [500, 500, 500]
    assert (await api.fetch({})).status_code == 200


async def test_faults_hit_in_the_order_they_were_ordered(api: Api) -> None:
    api.sandbox.fault("fetch", status=500)
    api.sandbox.fault("*", status=502)
    api.sandbox.fault("fetch", status=429)

    statuses = [(await api.fetch({})).status_code for _ in range(4)]

    assert statuses == [500, 502, 429, 200]


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


async def test_calls_are_counted_by_endpoint(api: Api) -> None:
    await api.fetch({})
    await api.fetch(b"")
    await api.metadata()
    await api.send("GET", "/_sandbox/events")
    await api.send("POST", "/v1/experiences/other")

    assert api.sandbox.calls == {"fetch": 2, "metadata": 1}
    assert api.sandbox.calls["events"] == 0


async def test_reset_goes_back_to_the_start(api: Api) -> None:
    api.sandbox.fault("events", status=500, times=None)
    await api.fetch({})

    response = await api.send("POST", "/_sandbox/reset")

    assert response.json() == {"status": "success"}
    assert api.sandbox.calls == {}
    assert (await api.report(action())).status_code == 200
    assert (await api.fetch({})).headers["x-ratelimit-remaining"] == "9999"

    api.sandbox.reset()
    assert api.sandbox.events == []
    assert (await api.report(action())).status_code == 200
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


async def test_endless_fault_is_listed_with_null(api: Api) -> None:
    order = {"drop": True, "times": None}

    response = await api.send("POST", "/_sandbox/faults", order)

    (fault,) = response.json()["faults"]
    assert (fault["path"], fault["times"]) == ("*", None)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({}, "Set at least one of status, latency, jitter, drop, lose_response, drip"),
        ({"status": 1, "rate": 7}, "status is 1: use 400 to 599. rate is 7"),
        ({"status": 503, "path": "other"}, "path is 'other'"),
        ({"status": 503, "path": ["fetch"]}, "path is ['fetch']"),
        ({"status": 200}, "status is 200"),
        ({"status": "503"}, "status is '503'"),
        ({"status": True}, "status is True"),
        ({"latency": -1}, "latency is -1"),
        ({"latency": "1"}, "latency is '1'"),
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
        (None, "Send a JSON object"),
        (b"", "A valid JSON document"),
        (b"{", "Could not decode"),
    ],
)
async def test_fault_that_makes_no_sense_is_refused(
    api: Api, order: Any, why: str
) -> None:
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


async def test_jitter_makes_calls_wait_for_different_times(api: Api) -> None:
    api.sandbox.fault("fetch", latency=0.01, jitter=0.05, times=None)

    hits = [api.sandbox.faults.take("fetch") for _ in range(50)]

    delays = [hit.delay for hit in hits if hit]
    assert len(set(delays)) == 50
    assert 0.01 <= min(delays) < 0.02
    assert 0.05 < max(delays) <= 0.06


async def test_rate_hits_its_share_of_all_calls(api: Api) -> None:
    api.sandbox.fault("fetch", status=503, rate=0.3)

    statuses = [(await api.fetch({})).status_code for _ in range(400)]

    assert 0.23 < statuses.count(503) / 400 < 0.37
    assert statuses.count(200) + statuses.count(503) == 400


async def test_rate_with_times_ends_after_so_many_hits(api: Api) -> None:
    api.sandbox.fault("fetch", status=503, rate=0.5, times=3)

    statuses = [(await api.fetch({})).status_code for _ in range(60)]

    assert statuses.count(503) == 3


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)], ids=["the same", "another"])
def test_same_seed_hits_the_same_calls_again(seeds: tuple[int, int]) -> None:
    runs = []
    for seed in seeds:
        sandbox = Sandbox()
        sandbox.fault(drop=True, rate=0.5, seed=seed)
        runs.append([bool(sandbox.faults.take("fetch")) for _ in range(64)])

    assert (runs[0] == runs[1]) == (seeds[0] == seeds[1])


def test_reset_begins_the_draws_of_a_standing_fault_again() -> None:
    sandbox = Sandbox(Workspace(faults=(Fault(drop=True, rate=0.5),)))

    runs = []
    for _ in range(2):
        runs.append([bool(sandbox.faults.take("fetch")) for _ in range(64)])
        sandbox.reset()

    assert runs[0] == runs[1]


def test_two_faults_of_one_seed_draw_on_their_own(sandbox: Sandbox) -> None:
    sandbox.fault("fetch", drop=True, rate=0.5)
    sandbox.fault("events", drop=True, rate=0.5)

    runs = [
        [bool(sandbox.faults.take(path)) for _ in range(64)]
        for path in ("fetch", "events")
    ]

    assert runs[0] != runs[1]


async def test_call_that_one_rate_spares_may_hit_the_next_fault(api: Api) -> None:
    api.sandbox.fault("fetch", status=500, rate=0.5)
    api.sandbox.fault("fetch", status=502, times=None)

    statuses = {(await api.fetch({})).status_code for _ in range(64)}

    assert statuses == {500, 502}


async def test_garbage_is_no_json_though_the_event_is_stored(api: Api) -> None:
    api.sandbox.fault("events", garbage=True)

    response = await api.report(action())

    assert response.status_code == 200
    assert len(response.content) == NOISE
    with pytest.raises(ValueError, match=r"decode|JSON|Expecting"):
        response.json()
    assert len(api.sandbox.events) == 1


async def test_garbage_may_have_a_status_of_its_own(api: Api) -> None:
    api.sandbox.fault("events", garbage=True, status=502)

    response = await api.report(action())

    assert (response.status_code, len(response.content)) == (502, NOISE)
    assert api.sandbox.events == []


def test_fault_tells_itself_in_a_few_words() -> None:
    fault = Fault(status=503, latency=0.2, lose_response=True)

    assert fault.describe() == "status 503, latency 0.2, lose_response"


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


async def test_faults_of_the_workspace_are_there_from_the_start() -> None:
    api = Api(Sandbox(Workspace(faults=(Fault(path="fetch", status=503),))))

    first = await api.fetch({})
    second = await api.fetch({})
    api.sandbox.reset()
    after_reset = await api.fetch({})

    statuses = [first.status_code, second.status_code, after_reset.status_code]
    assert statuses == [503, 200, 503]


def test_fault_in_python_is_checked_too(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="status is 99"):
        sandbox.fault("fetch", status=99)


async def test_strange_status_has_a_title_all_the_same(api: Api) -> None:
    api.sandbox.fault("fetch", status=599)

    assert (await api.fetch({})).json()["title"] == "Status 599"
