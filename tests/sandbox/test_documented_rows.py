"""Rows of the documents' tables, and of what we decided where they are silent.

The rows of malformed calls are in ``protocol/test_refusals.py``.

A row reads as a curl line with the credentials left out: ``-u`` and ``-H`` replace
them, and ``-H 'Name:'`` takes a header away, as in curl.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import httpx

from moe_middleware.sandbox import (
    Audience,
    Customer,
    DataType,
    Experience,
    Sandbox,
    Status,
    Value,
    Variation,
    Workspace,
)
from moe_middleware.sandbox.workspace.geography import Geography, Location
from moe_middleware.sandbox.workspace.rules import (
    AttributeMeets,
    Device,
    Fact,
    FactIsIn,
    Operator,
    ParameterMeets,
    Rule,
)
from moe_middleware.sandbox.workspace.workspace import ControlGroup, cid_token_of

from ..rows import each
from .calls import CONTEXT, HEADERS, Api, action, basic, element

DESKTOP = "Mozilla/5.0 (X11; Linux x86_64)"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"


def experience(
    key: str, *rules: Rule, payload: dict[str, Value] | None = None, **fields: Any
) -> Experience:
    arm = Variation(variation_id="1", payload=payload or {"Title": Value("Hello")})
    one = Audience(audience_id="5A", name="All Users", rules=rules, variations=(arm,))
    cid_token = cid_token_of(key)
    return Experience(
        key=key, name=key, cid_token=cid_token, audiences=(one,), **fields
    )


GREETINGS = {
    "name": "Hi {{ UserAttribute['First Name'] }}",
    "name-or-guest": "Hi {{ UserAttribute['First Name']|default('Guest') }}",
    "name-or-not-sent": "{{ UserAttribute['First Name']|default('MOE_NOT_SEND') }}",
    "never": "{% MOE_NOT_SEND('no') %}",
}

WORKSPACE = Workspace(
    workspace_id="W1",
    api_keys=("new", "old"),
    customers=(
        Customer(customer_id="alice", attributes={"tier": "gold", "First Name": "A"}),
        Customer(customer_id="bob", identifiers={"u_em": "bob@shop.example"}),
    ),
    geography=Geography(places=(("203.0.113.0/24", Location(country="Portugal")),)),
    experiences=(
        experience("everyone"),
        experience("gold", AttributeMeets("tier", Operator.IS, ("gold",))),
        experience("email", ParameterMeets("utm_medium", Operator.IS, ("email",))),
        experience("seven", FactIsIn(Fact.HOURS, ("07",))),
        experience("phone", FactIsIn(Fact.DEVICE, (Device.MOBILE,))),
        experience("no-phone", FactIsIn(Fact.DEVICE, (Device.MOBILE,), exclude=True)),
        experience("portugal", FactIsIn(Fact.COUNTRY, ("Portugal",))),
        experience("control", control_group=ControlGroup(percent=100)),
        *(experience(one.lower(), status=one) for one in [*Status][1:]),
        *(
            experience(key, payload={"Title": Value(text)})
            for key, text in GREETINGS.items()
        ),
        experience(
            "types",
            payload={
                "s": Value("text"),
                "n": Value(7, DataType.NUMBER),
                "b": Value(True, DataType.BOOLEAN),
                "j": Value({"a": [1]}, DataType.JSON),
                "f": Value(1.5, DataType.FLOAT),
            },
        ),
    ),
)


def serving(**switches: Any) -> Api:
    return Api(Sandbox(replace(WORKSPACE, **switches), clock=lambda: 1_790_000_000.0))


async def curl(api: Api, line: str) -> httpx.Response:
    """Send what a line says, with the workspace's credentials where it names none."""
    method, path, *options = shlex.split(line)
    headers = HEADERS | {"MOE-APPKEY": "W1", "Authorization": basic("W1", "new")}
    body = ""
    for option, value in zip(options[::2], options[1::2], strict=True):
        match option:
            case "-u":
                headers["Authorization"] = basic(*value.split(":"))
            case "-d":
                body = value
            case "-H":
                name, _, text = value.partition(":")
                headers.pop(name, None)
                if text:
                    headers[name] = text.strip()
    return await api.send(method, f"/v1/experiences/{path}", body.encode(), headers)


def event(**fields: Any) -> str:
    """Return curl's part of an events call with one good action, but for these."""
    return f"POST events -d {shlex.quote(json.dumps(action(**fields)))}"


def elements(*those: dict[str, Any]) -> str:
    """Return curl's part of an events call with these elements."""
    return f"POST events -d {shlex.quote(json.dumps({'elements': those}))}"


# --- A2: statuses and bodies -------------------------------------------------

UNKNOWN_APP = "400 Request Error: ...MOE-APPKEY or MOE-DBNAME."
WRONG_KEY = "401 Authentication required: Invalid API_KEY used in Authentication Header"
EMPTY = "400 Empty request body: A valid JSON document is required."
MALFORMED = "400 Malformed JSON: Could not decode ..."
BAD_ACTIONS = (
    "400 Invalid Field Value: elements - Validators Failed : Validator: Element, "
    "Errored Field: actions (code)"
)
GOOD = "200"

CALLS = ("POST fetch -d {}", "GET metadata", event())
BAD_AUTHORIZATIONS = (
    *("", " ", " Bearer new", " Basic", " Basic !!!", " Basic //79", " Basic VzE="),
    *(f" {basic('W1', 'new')}{end}" for end in (" more", "****")),
    *(f" {basic(*pair)}" for pair in (("W1", "wrong"), ("W1", ""), ("other", "new"))),
)

STATUSES = {
    # app key missing or unknown, then workspace id or key wrong: all three
    **{
        f"{call} -H 'MOE-APPKEY:{key}'": UNKNOWN_APP
        for call in CALLS
        for key in ("", " ", "other", "w1", "W1_DEBUG_DEBUG")
    },
    **{
        f"{call} -H 'Authorization:{value}'": WRONG_KEY
        for call in CALLS
        for value in BAD_AUTHORIZATIONS
    },
    # both live keys, and the TEST environment
    **{
        f"GET metadata -H 'MOE-APPKEY: {key}' -u {user}:{live}": GOOD
        for key, user in (("W1", "W1"), ("W1_DEBUG", "W1"), ("W1_DEBUG", "W1_DEBUG"))
        for live in ("new", "old")
    },
    # a Basic user that differs
    "GET metadata -u W1_DEBUG:new": WRONG_KEY,
    # the order of the checks
    "POST fetch -H 'MOE-APPKEY:' -u W1:wrong -d {": UNKNOWN_APP,
    "POST fetch -u W1:wrong -d {": WRONG_KEY,
    """POST fetch -d '{"DAY_OF_THE_WEEK": "funday"'""": MALFORMED,
    # the documents' sample of a new user lacks a comma
    """POST events -d '{"elements": [{"user_attributes": {} "actions": []}]}'""": (
        MALFORMED
    ),
    # body empty
    "POST fetch": EMPTY,
    "POST events": EMPTY,
    # the other header that names the workspace
    "GET metadata -H 'MOE-APPKEY:' -H 'MOE-DBNAME: W1'": GOOD,
    "POST fetch -H 'MOE-APPKEY:' -H 'MOE-DBNAME: W1_DEBUG' -d {}": GOOD,
    "POST fetch -H 'MOE-APPKEY:' -H 'MOE-DBNAME: other' -d {}": UNKNOWN_APP,
    "POST fetch -H 'MOE-APPKEY: other' -H 'MOE-DBNAME: W1' -d {}": UNKNOWN_APP,
    # the printed type of the older pages
    "POST fetch -H 'Content-Type: application/JSON' -d {}": GOOD,
    # the ends of a range
    **{
        elements(element(user_timezone_offset=offset)): GOOD
        for offset in (-54000, 0, 54000)
    },
}


@each("line", STATUSES)
async def test_status_and_body_are_those_of_the_row(line: str) -> None:
    api = serving()
    response = await curl(api, line)

    assert_answers(response, STATUSES[line])
    assert STATUSES[line] == GOOD or api.sandbox.events == []


def assert_answers(response: httpx.Response, row: str) -> None:
    """Compare an answer with ``STATUS TITLE: DESCRIPTION (code)``."""
    document = response.json()
    found = str(response.status_code)
    if response.status_code != 200:
        assert set(document) - {"code"} == {"title", "description"}
        found += f" {document['title']}: {document['description']}"
    if "code" in document:
        assert re.fullmatch("[A-Za-z]{8}", document["code"])
        found += " (code)"
    assert re.fullmatch(re.escape(row).replace(re.escape("..."), ".*"), found)


async def test_body_too_large_has_the_envelope() -> None:
    api = serving()
    headers = HEADERS | {"MOE-APPKEY": "W1", "Authorization": basic("W1", "new")}

    for path in ("fetch", "events"):
        response = await api.send(
            "POST", f"/v1/experiences/{path}", b" " * 5_000_000, headers
        )
        assert_answers(response, "413 Payload Too Large: ...")


async def test_receipt_of_good_events_is_the_documented_one() -> None:
    receipt = (await curl(serving(), event())).json()

    assert set(receipt) == {"status", "message", "req_id"}
    assert receipt["status"] == "success"
    assert re.fullmatch("[A-Za-z]{8}", receipt["req_id"])


# --- A5, A6, J: what a fetch answers -------------------------------------------

ALICE = '"identifiers": {"customer_id": "alice"}'


def ask(keys: str, rest: str = "") -> str:
    """Return a fetch of these keys, with further fields."""
    fields = ", ".join(
        filter(None, [f'"experience_key": {json.dumps(keys.split())}', rest])
    )
    return f"POST fetch -d '{{{fields}}}'"


IN_SESSION = (
    '"Custom_attribute": "utm_medium: email", "DAY_OF_THE_WEEK": "Monday", '
    '"TIME_OF_THE_DAY": "07", "USER_IP_ADDRESS": "203.0.113.7", '
    f'"USER_AGENT": "{PHONE}"'
)

FETCHES = {
    # the samples of the documents of 2024, with flat ids, and of today's
    ask(
        "gold seven phone portugal",
        f'"customer_id": "alice", "visitor_id": "b1946ac9-2492", {IN_SESSION}',
    ): "gold seven phone portugal",
    ask("gold email", f'{ALICE}, "utm_medium": "email"'): "gold email",
    # known and unknown keys together
    ask("everyone nobody"): "everyone",
    ask("nobody"): "",
    # states
    ask("paused scheduled expired draft everyone"): "everyone",
    # a missing input matches no audience that asks for it
    ask("seven phone no-phone portugal email everyone"): "everyone",
    ask("seven", '"TIME_OF_THE_DAY": "07"'): "seven",
    ask("seven", '"TIME_OF_THE_DAY": "08"'): "",
    ask("phone no-phone", f'"USER_AGENT": "{PHONE}"'): "phone",
    ask("phone no-phone", f'"USER_AGENT": "{DESKTOP}"'): "no-phone",
    ask("portugal", '"USER_IP_ADDRESS": "203.0.113.7"'): "portugal",
    ask("portugal", '"USER_IP_ADDRESS": "198.51.100.7"'): "",
    ask("email", '"utm_medium": "email"'): "email",
    ask("email", '"utm_medium": "push"'): "",
    # control group, templates
    ask("control", ALICE): "",
    ask("name name-or-guest name-or-not-sent never", ALICE): (
        "name name-or-guest name-or-not-sent"
    ),
    ask("name name-or-guest name-or-not-sent never"): "name-or-guest",
    ask("gold", ALICE): "gold",
    # one key as a text, as an old table has it
    """POST fetch -d '{"experience_key": "everyone"}'""": "everyone",
    # 26 keys: the first 25 are answered
    ask(" ".join(["nobody"] * 24 + ["everyone", "types"])): "everyone",
}


@each("line", FETCHES)
async def test_fetch_answers_what_the_row_says(line: str) -> None:
    response = await curl(serving(), line)

    assert response.status_code == 200, response.text
    assert list(response.json()["experiences"]) == FETCHES[line].split()


# --- the catalogue -----------------------------------------------------------------

ACTIVE = tuple(one.key for one in WORKSPACE.experiences if one.status == Status.ACTIVE)

CATALOGUES: dict[str, tuple[str, ...]] = {
    "": (*ACTIVE[:8], "paused", "scheduled", *ACTIVE[8:]),
    "?status=": (*ACTIVE[:8], "paused", "scheduled", *ACTIVE[8:]),
    "?status=Active": ACTIVE,
    "?status=Paused": ("paused",),
    "?status=Paused,Scheduled": ("paused", "scheduled"),
    "?status=Scheduled&status=Paused": ("paused", "scheduled"),
    "?status=active": (),
    "?status=Paused,nonsense": ("paused",),
    "?status=%F0%9F%8D%B5": (),
    "?status=Expired": (),
}


@each("query", CATALOGUES)
async def test_metadata_lists_what_has_the_status(query: str) -> None:
    response = await curl(serving(), f"GET 'metadata{query}'")

    keys = CATALOGUES[query]
    assert response.status_code == 200
    assert response.json() == {
        "metadata": {
            "count": len(keys),
            "experiences": [
                {
                    "experience_name": key,
                    "experience_key": key,
                    "status": key.title()
                    if key in ("paused", "scheduled")
                    else "Active",
                }
                for key in keys
            ],
        }
    }


# --- A8: events ------------------------------------------------------------------

B_ID = {"b_id": "Shop Now"}

EVENTS: dict[str, dict[str, Any]] = {
    event(): {"platform": "web", "b_id": None, "event_time": 1725258666},
    event(platform="ANDROID"): {"platform": "android"},
    event(platform="iOS"): {"platform": "ios"},
    event(platform="Tv"): {"platform": "tv"},
    event(platform="mweb"): {"platform": "Unknown"},
    event(platform=None): {"platform": "Unknown"},
    event(platform=["web"]): {"platform": "Unknown"},
    event(**B_ID): B_ID,
    event(attributes=CONTEXT | B_ID): B_ID,
    event(**B_ID, attributes=CONTEXT | {"b_id": "Inner"}): B_ID,
    **{
        event(event_time=time): {"event_time": 1725258666}
        for time in (
            *("2024-09-02T06:31:06Z", "2024-09-02T12:01:06+05:30"),
            *("2024-09-02T06:31:06", 1725258666.0),
        )
    },
    event(event_time=1725258666000): {"event_time": 1725258666000},
}


@each("line", EVENTS)
async def test_event_is_stored_as_the_row_says(line: str) -> None:
    api = serving()
    response = await curl(api, line)

    (stored,) = api.sandbox.events
    assert_answers(response, GOOD)
    assert stored == stored | EVENTS[line]
    assert type(stored["event_time"]) is int


# --- the other readings, behind switches -------------------------------------------

SWITCHES = [
    (
        {"paused_as_empty_payload": True},
        ask("paused scheduled expired draft"),
        {"paused": {}, "scheduled": {}},
    ),
    ({"strict_platform": True}, event(platform="mweb"), BAD_ACTIONS),
    ({"strict_platform": True}, event(platform="Web"), GOOD),
    ({"iso_event_time": False}, event(event_time="2024-09-02T06:31:06Z"), BAD_ACTIONS),
    ({"iso_event_time": False}, event(event_time=1725258666), GOOD),
    (
        {"millisecond_event_time": False},
        event(event_time=1725258666000),
        BAD_ACTIONS,
    ),
    ({"millisecond_event_time": False}, event(event_time=1725258666), GOOD),
    (
        {"unknown_app_is_401": True},
        "GET metadata -H 'MOE-APPKEY: other'",
        UNKNOWN_APP.replace("400", "401"),
    ),
    ({"test_app_key": False}, "GET metadata -H 'MOE-APPKEY: W1_DEBUG'", UNKNOWN_APP),
    ({"test_app_key": False}, "GET metadata", GOOD),
    ({"api_keys": ("new",)}, "GET metadata -u W1:old", WRONG_KEY),
    ({"flat_ids": False}, ask("gold", '"customer_id": "alice"'), {}),
    ({}, ask("name-or-guest", ALICE), {"name-or-guest": {"Title": "Hi A"}}),
    ({}, ask("name-or-guest"), {"name-or-guest": {"Title": "Hi Guest"}}),
    (
        *({}, ask("types")),
        {"types": {"s": "text", "n": 7, "b": True, "j": {"a": [1]}, "f": 1.5}},
    ),
    (
        *({"values_as_text": True}, ask("types")),
        {"types": {"s": "text", "n": "7", "b": "true", "j": '{"a":[1]}', "f": "1.5"}},
    ),
]


@each(("switches", "line", "row"), SWITCHES)
async def test_switch_chooses_the_other_reading(
    switches: dict[str, Any], line: str, row: str | dict[str, Any]
) -> None:
    response = await curl(serving(**switches), line)

    if isinstance(row, str):
        assert_answers(response, row)
    else:
        assert row == {
            key: {name: value["value"] for name, value in one["payload"].items()}
            for key, one in response.json()["experiences"].items()
        }
