"""Strict or lenient: what the newest documents do not allow is refused, or noted."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import pytest

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.protocol.leniencies import ADVICE, Leniency
from moe_middleware.sandbox.workspace.file import parse_workspace

from ...rows import each
from ..calls import CONTEXT, HEADERS, Api, action, element

NO_V4 = {
    "a text": "event-1",
    "version 1": "c232ab00-9414-11ec-b3c8-9f6bdeced846",
    "another variant": "aa886712-4537-47c1-c126-2686efda2e26",
    "in braces": "{aa886712-4537-47c1-b126-2686efda2e26}",
    "a line break at its end": "aa886712-4537-47c1-b126-2686efda2e26\n",
}

EVENTS: list[tuple[dict[str, Any], Leniency]] = [
    ({"event_time": 1725258666000}, Leniency.MILLISECOND_EVENT_TIME),
    ({"event_time": "2024-09-02T06:31:06Z"}, Leniency.ISO_EVENT_TIME),
    ({"platform": "mweb"}, Leniency.UNKNOWN_PLATFORM),
    ({"platform": None}, Leniency.UNKNOWN_PLATFORM),
    ({"attributes": CONTEXT | {"type": "Email"}}, Leniency.OTHER_TYPE),
    ({"attributes": CONTEXT | {"type": None}}, Leniency.OTHER_TYPE),
    ({"attributes": CONTEXT | {"cid": ""}}, Leniency.EMPTY_ATTRIBUTE),
    ({"bid": "Shop Now"}, Leniency.UNKNOWN_FIELD),
]

Call = tuple[str, Any, Mapping[str, str], Leniency]

BEYOND: dict[str, Call] = {
    "one key as text": (
        *("fetch", {"experience_key": "homepage-banner"}, HEADERS),
        Leniency.TEXT_EXPERIENCE_KEY,
    ),
    "another id among the identifiers": (
        *("fetch", {"identifiers": {"visitor_id": "v"}}, HEADERS),
        Leniency.UNKNOWN_FIELD,
    ),
    "a form's content type": (
        *("fetch", {}, HEADERS | {"Content-Type": "text/plain"}),
        Leniency.OTHER_CONTENT_TYPE,
    ),
    "no content type": (
        *("events", action(), {k: HEADERS[k] for k in ("MOE-APPKEY", "Authorization")}),
        Leniency.OTHER_CONTENT_TYPE,
    ),
    **{
        f"uuid: {name}": (
            *("events", action(moe_event_uuid=uuid), HEADERS),
            Leniency.NO_UUID_V4,
        )
        for name, uuid in NO_V4.items()
    },
    **{
        f"event: {fields}": ("events", action(**fields), HEADERS, leniency)
        for fields, leniency in EVENTS
    },
    "an element's visitor_id": (
        *("events", {"elements": [element(visitor_id="v")]}, HEADERS),
        Leniency.UNKNOWN_FIELD,
    ),
    "a field beside the elements": (
        *("events", action() | {"element": []}, HEADERS),
        Leniency.UNKNOWN_FIELD,
    ),
}

ALLOWED: dict[str, tuple[str, Any]] = {
    "nothing": ("fetch", {}),
    "ids, keys and custom attributes": (
        "fetch",
        {
            "identifiers": {
                "customer_id": "alice",
                "user_identifiers": {"u_em": "alice@example.com", "member_no": "7"},
            },
            "experience_key": ["homepage-banner"],
            "DAY_OF_THE_WEEK": "Sunday",
            "TIME_OF_THE_DAY": "07",
            "USER_IP_ADDRESS": "203.0.113.7",
            "USER_AGENT": "Mozilla/5.0",
            "utm_medium": "email",
            "cart_value": "500",
        },
    ),
    "an identifier as text, as the schema has it": (
        "fetch",
        {"identifiers": {"user_identifiers": "alice@example.com"}},
    ),
    "a whole time with a point": ("events", action(event_time=1725258666.0)),
    "a platform in capitals": ("events", action(platform="WEB")),
    "a uuid in capitals": (
        "events",
        action(moe_event_uuid="AA886712-4537-47C1-B126-2686EFDA2E26"),
    ),
    "a context that comes back whole": (
        "events",
        action(attributes=CONTEXT | {"experience_type": "API based Experience"}),
    ),
    "a context without its type": (
        "events",
        action(attributes={k: v for k, v in CONTEXT.items() if k != "type"}),
    ),
    "a b_id in both places": (
        "events",
        action(b_id="Shop Now", attributes=CONTEXT | {"b_id": "Shop Now"}),
    ),
    "all of an element": (
        "events",
        {"elements": [element(user_attributes={"x": 1}, user_timezone_offset=19800.0)]},
    ),
}


def strict() -> Api:
    return Api(Sandbox(strict=True))


async def send(
    api: Api, path: str, body: Any, headers: Mapping[str, str] = HEADERS
) -> int:
    response = await api.send("POST", f"/v1/experiences/{path}", body, headers)
    return response.status_code


@each("name", BEYOND)
async def test_strict_refuses_and_lenient_notes_it(name: str) -> None:
    path, body, headers, leniency = BEYOND[name]
    refusing, api = strict(), Api(Sandbox())

    refused = await send(refusing, path, body, headers)
    taken = await send(api, path, body, headers)

    assert refused == (415 if leniency is Leniency.OTHER_CONTENT_TYPE else 400)
    assert refusing.sandbox.events == []
    assert refusing.sandbox.leniencies.as_documents() == []
    assert taken == 200
    (noted,) = api.sandbox.leniencies.as_documents()
    assert noted["kind"] == leniency
    assert noted["calls"] == 1


@each("name", ALLOWED)
async def test_strict_takes_what_the_newest_documents_allow(name: str) -> None:
    path, body = ALLOWED[name]
    api = Api(Sandbox())

    headers = {
        "MOE-DBNAME": "sandbox",
        "Authorization": HEADERS["Authorization"],
        "Content-Type": "application/json; charset=utf-8",
    }
    assert await send(strict(), path, body, headers) == 200
    assert await send(api, path, body) == 200
    assert api.sandbox.leniencies.as_documents() == []


async def test_flat_id_is_an_id_or_strictly_a_custom_attribute(api: Api) -> None:
    body = {"user_id": "alice", "experience_key": ["homepage-banner"]}

    taken = await api.experiences(body)
    ignored = await strict().experiences(body)
    # Beside the same identifier it is no leniency.
    await api.experiences({"identifiers": {"customer_id": "a"}, "customer_id": "a"})

    context = "experience_context"
    assert taken["homepage-banner"][context]["audience_name"] == "Gold members"
    assert ignored["homepage-banner"][context]["audience_name"] == "All Users"
    (noted,) = api.sandbox.leniencies.as_documents()
    assert (noted["kind"], noted["calls"]) == ("flat_customer_id", 1)


async def test_audience_may_ask_for_a_flat_id_that_is_a_custom_attribute() -> None:
    file = """
experiences:
  - key: for-v1
    name: For v1
    audiences:
      - name: One
        in_session: {query: {visitor_id: v1}}
        variations: [{payload: {T: t}}]
"""
    found = [
        list(
            await Api(Sandbox(parse_workspace(text))).experiences({"visitor_id": "v1"})
        )
        for text in (file, f"strict: true{file}")
    ]

    assert found == [[], ["for-v1"]]


async def test_visitor_id_splits_the_anonymous_where_strict_knows_only_one() -> None:
    async def arms(api: Api) -> set[str]:
        found = [await api.experiences({"visitor_id": f"v{n}"}) for n in range(20)]
        return {
            one["homepage-banner"]["experience_context"]["moe_variation_id"]
            for one in found
        }

    lenient = Api(Sandbox())

    assert len(await arms(lenient)) == 2
    assert len(await arms(strict())) == 1
    (noted,) = lenient.sandbox.leniencies.as_documents()
    assert (noted["kind"], noted["calls"]) == ("flat_visitor_id", 20)


async def test_log_warns_once_of_each_kind_and_again_after_a_reset(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await api.fetch({"customer_id": "alice", "experience_key": "homepage-banner"})
    before = [line.partition(":")[0] for line in caplog.messages]
    api.sandbox.reset()
    await api.fetch({"customer_id": "alice"})

    kinds = ["flat_customer_id", "text_experience_key"]
    assert sorted(before) == [f"lenient_reading kind={kind}" for kind in kinds]
    assert len(caplog.messages) == 3
    assert "alice" not in caplog.text


async def test_visitor_id_of_our_own_client_is_no_warning(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "moe_middleware.sandbox")

    await api.fetch({"visitor_id": "v1"})

    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith("lenient_reading kind=flat_visitor_id: ")


async def test_tool_and_overview_list_what_was_allowed(api: Api) -> None:
    await api.fetch({"customer_id": "alice"})
    # A refused call notes nothing.
    await api.report(action(moe_event_uuid="x", action="other"))

    listed = (await api.send("GET", "/_sandbox/leniencies")).json()
    page = await api.send("GET", "/", headers={"Accept": "text/html"})

    assert listed["strict"] is False
    assert listed["leniencies"] == [
        {
            "kind": "flat_customer_id",
            "calls": 1,
            "last_at": api.sandbox.clock(),
            "advice": ADVICE[Leniency.FLAT_CUSTOMER_ID],
        }
    ]
    assert "flat_customer_id" in page.text


@each("text", ["strict: true", "switches: {strict: true}"])
async def test_workspace_file_may_be_strict(text: str) -> None:
    api = Api(Sandbox(parse_workspace(text)))

    assert (await api.fetch({"experience_key": "x"})).status_code == 400
    assert (await api.send("GET", "/_sandbox/leniencies")).json()["strict"] is True


def test_strict_sandbox_stays_strict_when_its_workspace_changes() -> None:
    sandbox = Sandbox(strict=True)
    sandbox.workspace = parse_workspace("name: Other")
    assert sandbox.workspace.strict
    sandbox.define("hero-banner", {"Title": "x"})
    sandbox.reset()
    assert (sandbox.workspace.name, sandbox.workspace.strict) == ("Other", True)


def test_every_leniency_says_what_to_do() -> None:
    assert set(ADVICE) == set(Leniency)
    for advice in ADVICE.values():
        assert re.search(r": (send|look|make|divide)", advice), advice
