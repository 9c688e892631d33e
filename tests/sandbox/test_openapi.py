"""The OpenAPI document, and calls of all kinds that schemathesis makes from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import checks

from moe_middleware.sandbox import DataType, Sandbox, sample_workspace
from moe_middleware.sandbox.protocol.answers import LISTED
from moe_middleware.sandbox.protocol.events import (
    ACTIONS,
    MAX_ELEMENTS,
    MAX_OFFSET,
    MILLISECONDS_FROM,
    REQUIRED_ATTRIBUTES,
)
from moe_middleware.sandbox.protocol.fetches import FLAT_IDS, MAX_KEYS
from moe_middleware.sandbox.workspace.rules import DAYS, HOURS

from .calls import HEADERS, Api

CREDENTIALS = {name: HEADERS[name] for name in ("MOE-APPKEY", "Authorization")}

# Read strictly: what the document does not allow must be refused. One for all examples:
# what a hostile call leaves behind must do no harm either.
SANDBOX = Sandbox(
    replace(
        sample_workspace(),
        fetch_limit=10**9,
        unknown_app_is_401=True,
        iso_event_time=False,
        millisecond_event_time=False,
    )
)

# Used without schemathesis' pytest plugin, which warns at the session's end.
schema = schemathesis.openapi.from_asgi("/openapi.json", SANDBOX)
OPERATIONS = {
    "fetch": schema["/experiences/fetch"]["POST"],
    "metadata": schema["/experiences/metadata"]["GET"],
    "events": schema["/experiences/events"]["POST"],
}


@pytest.mark.timeout(300)  # many calls, seconds of work even alone
@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_call_is_answered_as_documented(
    name: str, mode: schemathesis.GenerationMode
) -> None:
    @settings(max_examples=4, deadline=None)
    @given(OPERATIONS[name].as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        # A query's further parameters are left alone, as on most sites.
        lax = [checks.negative_data_rejection] if case.method == "GET" else []
        case.call_and_validate(headers=CREDENTIALS, excluded_checks=lax)

    check()


async def get_document(api: Api) -> dict[str, Any]:
    response = await api.send("GET", "/openapi.json", headers={})
    document: dict[str, Any] = response.json()
    return document


async def test_document_names_its_own_address_below_any_root_path() -> None:
    transport = httpx.ASGITransport(app=Sandbox(), root_path="/sandbox")
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("http://shop.example/sandbox/openapi.json")
        document = response.json()
        fetch = f"{document['servers'][0]['url']}/experiences/fetch"
        answer = await client.post(fetch, json={}, headers=HEADERS)

    assert answer.status_code == 200
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "http://shop.example/sandbox/v1"}]


async def test_document_has_the_limits_and_names_of_the_code(api: Api) -> None:
    schemas = (await get_document(api))["components"]["schemas"]
    fetch, action = schemas["FetchRequest"]["properties"], schemas["Action"]
    elements = schemas["EventsRequest"]["properties"]["elements"]
    offset = schemas["Element"]["properties"]["user_timezone_offset"]
    attributes = action["properties"]["attributes"]
    status = schemas["MetadataResponse"]["properties"]["metadata"]["properties"][
        "experiences"
    ]["items"]["properties"]["status"]
    value = schemas["Experience"]["properties"]["payload"]["additionalProperties"]

    assert fetch["DAY_OF_THE_WEEK"]["enum"] == list(DAYS)
    assert fetch["TIME_OF_THE_DAY"]["enum"] == list(HOURS)
    assert f"first {MAX_KEYS} " in fetch["experience_key"]["description"]
    assert {*FLAT_IDS} <= {*fetch}
    assert elements["maxItems"] == MAX_ELEMENTS
    assert (offset["minimum"], offset["maximum"]) == (-MAX_OFFSET, MAX_OFFSET)
    assert action["properties"]["action"]["enum"] == list(ACTIONS)
    assert action["properties"]["event_time"]["maximum"] == MILLISECONDS_FROM - 1
    assert attributes["required"] == list(REQUIRED_ATTRIBUTES)
    assert status["enum"] == [one.value for one in LISTED]
    assert value["properties"]["data_type"]["enum"] == [one.value for one in DataType]


async def test_all_statuses_have_the_envelope_and_fetch_its_limits(api: Api) -> None:
    paths = (await get_document(api))["paths"]

    statuses = {
        path: sorted(operation["responses"], key=int)
        for path, operations in paths.items()
        for operation in operations.values()
    }
    assert statuses == {
        "/experiences/fetch": ["200", "400", "401", "405", "413", "415", "429", "500"],
        "/experiences/metadata": ["200", "400", "401", "405", "500"],
        "/experiences/events": ["200", "400", "401", "405", "413", "415", "500"],
    }
    for response in paths["/experiences/fetch"]["post"]["responses"].values():
        assert "x-ratelimit-reset" in response["headers"]


async def test_examples_work_as_they_are(api: Api) -> None:
    paths = (await get_document(api))["paths"]
    for path, (method, operation) in ((k, *one.items()) for k, one in paths.items()):
        query, body = "", b""
        if method == "get":
            query = "?status=" + operation["parameters"][0]["example"]
        else:
            body = operation["requestBody"]["content"]["application/json"]["example"]

        response = await api.send(method.upper(), f"/v1{path}{query}", body)

        content = operation["responses"]["200"]["content"]["application/json"]
        assert response.status_code == 200
        assert set(response.json()) == set(content["example"])


async def test_every_fault_status_has_a_documented_body(api: Api) -> None:
    for status in (400, 401, 405, 413, 429, 500):
        api.sandbox.fault("fetch", status=status)
        response = await api.fetch({})
        OPERATIONS["fetch"].validate_response(
            schemathesis.Response.from_httpx(response, verify=False)
        )
