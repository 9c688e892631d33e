"""Every documented way of saying no, as a table."""

from __future__ import annotations

import re
from typing import Any

from moe_middleware.sandbox import Sandbox

from ...rows import each
from ..calls import ACTION, CONTEXT, Api, element

ALL_DAYS = "Sunday, Monday, Tuesday, Wednesday, Thursday, Friday, Saturday"
ALL_HOURS = ", ".join(f"{hour:02}" for hour in range(24))
BAD_ELEMENT = "elements - Validators Failed : Validator: Element, Errored Field: "


@each(
    "body",
    [
        b"{",
        b'{"a": 1 "b": 2}',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b"customer_id=bob",
    ],
)
async def test_body_that_is_no_json_in_utf8_is_malformed(body: bytes) -> None:
    for path in ("fetch", "events"):
        response = await Api(Sandbox()).send("POST", f"/v1/experiences/{path}", body)

        assert response.status_code == 400
        assert response.json()["title"] == "Malformed JSON"
        assert "decode" in response.json()["description"]
        assert "code" not in response.json()


FETCH_MISTAKES = {
    '{"DAY_OF_THE_WEEK": "funday"}': "DAY_OF_THE_WEEK - Enum doesnt allow value: "
    f"funday, allowed values: [{ALL_DAYS}]",
    '{"TIME_OF_THE_DAY": "7"}': "TIME_OF_THE_DAY - Enum doesnt allow value: 7, "
    f"allowed values: [{ALL_HOURS}]",
    '{"TIME_OF_THE_DAY": 7}': "TIME_OF_THE_DAY - Enum doesnt allow value: 7, "
    f"allowed values: [{ALL_HOURS}]",
    '{"TIME_OF_THE_DAY": null}': "TIME_OF_THE_DAY - Enum doesnt allow value: None, "
    f"allowed values: [{ALL_HOURS}]",
    '{"customer_id": 7}': "customer_id - Value must be of type str, passed type: int",
    '{"visitor_id": []}': "visitor_id - Value must be of type str, passed type: list",
    '{"user_id": {}}': "user_id - Value must be of type str, passed type: dict",
    '{"identifiers": "bob"}': "identifiers - Value must be of type dict, "
    "passed type: str",
    '{"identifiers": {"customer_id": true}}': "customer_id - Value must be of type "
    "str, passed type: bool",
    '{"identifiers": {"user_identifiers": {"u_em": 1}}}': "user_identifiers - "
    "Value must be of type str, passed type: int",
    '{"identifiers": {"user_identifiers": {"u_em": ""}}}': "user_identifiers - "
    "u_em: String value empty not allowed",
    '{"experience_key": 5}': "experience_key - Value must be of type list, "
    "passed type: int",
    '{"experience_key": ["a", null]}': "experience_key - Value cannot be None",
    '{"USER_AGENT": 5}': "USER_AGENT - Value must be of type str, passed type: int",
    '{"USER_IP_ADDRESS": {}}': "USER_IP_ADDRESS - Value must be of type str, "
    "passed type: dict",
    "[]": "body - Value must be of type dict, passed type: list",
    "null": "body - Value cannot be None",
}


@each("body", FETCH_MISTAKES)
async def test_fetch_names_the_field_that_is_wrong(body: str) -> None:
    response = await Api(Sandbox()).fetch(body.encode())

    envelope = response.json()
    assert response.status_code == 400
    assert envelope["title"] == "Invalid Field Value"
    assert envelope["description"] == FETCH_MISTAKES[body]
    assert re.fullmatch(r"[A-Za-z]{8}", envelope["code"])


def _without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


BAD_ACTIONS: dict[str, dict[str, Any]] = {
    "lower-case action": {"action": "moe_personalization_message_shown"},
    "another action": {"action": "MOE_WEBP_MESSAGE_SHOWN"},
    "action of another type": {"action": ["MOE_PERSONALIZATION_MESSAGE_SHOWN"]},
    "empty uuid": {"moe_event_uuid": ""},
    "numeric uuid": {"moe_event_uuid": 7},
    "time null": {"event_time": None},
    "time true": {"event_time": True},
    "time with a fraction": {"event_time": 1725258666.5},
    "time below zero": {"event_time": -1},
    "time beyond reason": {"event_time": 1e300},
    "time in words": {"event_time": "yesterday"},
    "time before the calendar": {"event_time": "0001-01-01T00:00:00+23:00"},
    "attributes a list": {"attributes": []},
    "attributes null": {"attributes": None},
    "attribute a number": {"attributes": CONTEXT | {"moe_variation_id": 2}},
    "b_id a number": {"b_id": 7},
    **{
        f"no {name}": {"attributes": _without(CONTEXT, name)}
        for name in CONTEXT
        if name != "type"
    },
}

BAD_ELEMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no customer_id": (_without(element(), "customer_id"), "customer_id"),
    "empty customer_id": (element(customer_id=""), "customer_id"),
    "numeric customer_id": (element(customer_id=5), "customer_id"),
    "user_attributes a list": (element(user_attributes=[]), "user_attributes"),
    "offset too small": (element(user_timezone_offset=-54001), "user_timezone_offset"),
    "offset too large": (element(user_timezone_offset=54001), "user_timezone_offset"),
    "offset a text": (element(user_timezone_offset="5"), "user_timezone_offset"),
    "no actions": (_without(element(), "actions"), "actions"),
    "empty actions": (element(actions=[]), "actions"),
    "actions an object": (element(actions=ACTION), "actions"),
    "an action null": (element(actions=[ACTION, None]), "actions"),
} | {
    name: (element(actions=[ACTION | fields]), "actions")
    for name, fields in BAD_ACTIONS.items()
}


@each("name", BAD_ELEMENTS)
async def test_bad_element_refuses_the_whole_call(name: str) -> None:
    api = Api(Sandbox())
    bad, field = BAD_ELEMENTS[name]
    good = element(actions=[ACTION | {"moe_event_uuid": "good"}])

    response = await api.report({"elements": [good, bad]})

    envelope = response.json()
    assert response.status_code == 400
    assert envelope["title"] == "Invalid Field Value"
    assert envelope["description"] == BAD_ELEMENT + field
    assert re.fullmatch(r"[A-Za-z]{8}", envelope["code"])
    assert api.sandbox.events == []


@each(
    ("body", "why"),
    [
        ({}, "Value cannot be None"),
        ({"elements": None}, "Value cannot be None"),
        ({"elements": []}, "Value cannot be None"),
        ({"elements": {}}, "Value must be of type list, passed type: dict"),
        ({"elements": [None]}, "Value cannot be None"),
        ({"elements": [[]]}, "Value must be of type dict, passed type: list"),
        ({"elements": [element()] * 101}, "Too many items in list, max allowed: 100"),
    ],
)
async def test_elements_that_are_no_list_of_objects_are_refused(
    body: dict[str, Any], why: str
) -> None:
    api = Api(Sandbox())
    response = await api.report(body)

    assert response.status_code == 400
    assert response.json()["title"] == "Invalid Field Value"
    assert response.json()["description"] == f"elements - {why}"
    assert api.sandbox.events == []


@each(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/experiences/fetch", {"POST"}),
        ("POST", "/v1/experiences/metadata", {"GET", "HEAD"}),
        ("PUT", "/v1/experiences/events", {"POST"}),
        ("GET", "/_sandbox/reset", {"POST"}),
        ("GET", "/_sandbox/web_sdk/events", {"POST", "OPTIONS"}),
        ("POST", "/v1/experiences", None),
        ("POST", "/v1/experiences/fetch/", None),
        ("POST", "/v2/experiences/fetch", None),
        ("POST", "/_sandbox", None),
    ],
)
async def test_wrong_method_gets_the_right_one_and_a_wrong_path_none(
    method: str, path: str, allowed: set[str] | None
) -> None:
    response = await Api(Sandbox()).send(method, path)

    given = response.headers.get("allow")
    assert response.status_code == (405 if allowed else 404)
    assert (set(given.split(", ")) if given else None) == allowed
    assert response.json()["title"] in ("Method Not Allowed", "Not Found")
