"""What pages report with the stand-in of the Web SDK, beside the API's own events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox, sample_workspace
from moe_middleware.sandbox.web_sdk import MAX_REPORT

from ..rows import each
from .calls import CONTEXT, Api, action
from .conftest import NOW

HERO = next(iter(sample_workspace().experiences))
DEVICE = "3f2c8a54-1f62-4f6e-9d65-0c8a41a7be11"
SHOWN, CLICKED = "MOE_WEBP_MESSAGE_SHOWN", "MOE_WEBP_MESSAGE_CLICKED"
HERE = CONTEXT | {"cid": f"{HERO.cid_token}_F_T_WP_AB_2_P_0_AU_5A"}
ATTRIBUTES = HERE | {"campaign_id": HERO.cid_token}

# A beacon's own headers, from a site at another port.
BEACON = {
    "Content-Type": "text/plain;charset=UTF-8",
    "Origin": "http://localhost:8000",
    "Sec-Fetch-Site": "same-site",
}


def report(**fields: Any) -> dict[str, Any]:
    """A report of an impression, but for these fields."""
    return {
        "app_id": "sandbox",
        "device_uuid": DEVICE,
        "user": {},
        "action": SHOWN,
        "attributes": ATTRIBUTES,
    } | fields


def click(**attributes: Any) -> dict[str, Any]:
    return report(action=CLICKED, attributes=ATTRIBUTES | attributes)


async def send(
    api: Api, document: object, headers: Mapping[str, str] = BEACON
) -> httpx.Response:
    return await api.send("POST", "/_sandbox/web_sdk/events", document, headers)


async def test_report_is_stored_as_it_came(api: Api, sandbox: Sandbox) -> None:
    answer = await send(api, click(widget_id="Shop Now"))

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    listed = (await api.send("GET", "/_sandbox/events")).json()
    (event,) = listed["events"]
    assert event == sandbox.events[0]
    assert event.pop("moe_event_uuid")
    assert event == {
        "id": 1,
        "customer_id": DEVICE,
        "action": CLICKED,
        "event_time": int(NOW),
        "platform": "web",
        "attributes": ATTRIBUTES | {"widget_id": "Shop Now"},
        "b_id": "Shop Now",
        "user_timezone_offset": None,
        "user_attributes": {},
        "experience_key": HERO.key,
        "audience_id": "5A",
        "variation_id": "2",
        "received_at": NOW,
        "via": "web_sdk",
        "device_uuid": DEVICE,
    }


async def test_both_ways_are_counted_together(api: Api, sandbox: Sandbox) -> None:
    await api.report(action(attributes=HERE))
    await send(api, report(user={"uid": "erin"}))
    await send(api, click(widget_id="Buy"))
    await send(api, click(button_id="Buy", button_name="Buy it"))
    for _ in range(2):  # Each counts, though nothing differs.
        await send(api, click())

    assert sandbox.impressions(HERO.key) == 2
    assert sandbox.impressions(HERO.key, "2") == 2
    assert sandbox.clicks(HERO.key) == 4
    assert sandbox.clicks(HERO.key, "Buy") == 2
    path = f"/_sandbox/report?experience_key={HERO.key}"
    counted = (await api.send("GET", path)).json()["experiences"][0]
    assert (counted["impressions"], counted["unique_impressions"]) == (2, 1)
    assert (counted["clicks"], counted["unique_clicks"]) == (4, 1)
    audience = next(one for one in counted["audiences"] if one["audience_id"] == "5A")
    variation = next(v for v in audience["variations"] if v["variation_id"] == "2")
    assert variation["clicks_by_b_id"] == {"Buy": 2}
    ways = [event["via"] for event in sandbox.events]
    assert ways == ["api", *["web_sdk"] * 5]
    assert len({event["moe_event_uuid"] for event in sandbox.events}) == 6


@each(
    ("user", "resolved", "customer_id"),
    [
        ({}, True, DEVICE),
        ({"uid": "alice"}, True, "alice"),
        ({"uid": "nobody-yet"}, True, "nobody-yet"),
        ({"u_em": "alice@example.com"}, True, "alice"),
        ({"u_em": "alice@example.com"}, False, DEVICE),
        ({"u_em": "strange@example.com"}, True, DEVICE),
        ({"uid": "bob", "u_em": "alice@example.com"}, True, "bob"),
    ],
)
async def test_event_is_the_customers_or_else_the_devices(
    user: dict[str, str], resolved: bool, customer_id: str
) -> None:
    sandbox = Sandbox()
    alice = replace(
        sandbox.customer("alice"), identifiers={"u_em": "alice@example.com"}
    )
    sandbox.workspace = replace(
        sandbox.workspace, identity_resolution=resolved, customers=(alice,)
    )

    await send(Api(sandbox), report(user=user))

    (event,) = sandbox.events
    assert (event["customer_id"], event["device_uuid"]) == (customer_id, DEVICE)


def without(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([report()], "body - "),
        (report(app_id=None), "app_id - "),
        (
            report(action="MOE_PERSONALIZATION_MESSAGE_SHOWN"),
            f"action - Enum doesnt allow value: MOE_PERSONALIZATION_MESSAGE_SHOWN, "
            f"allowed values: [{SHOWN}, {CLICKED}]",
        ),
        (without("action", report()), "action - Value cannot be None"),
        (report(attributes="{}"), "attributes - "),
        (report(attributes=without("cid", ATTRIBUTES)), "cid - Value cannot be None"),
        (report(attributes=ATTRIBUTES | {"cid": ""}), "cid - String value empty"),
        (
            report(attributes=ATTRIBUTES | {"moe_variation_id": 2}),
            "moe_variation_id - ",
        ),
        (click(widget_id=["a"]), "widget_id - "),
        (report(device_uuid=None), "device_uuid - "),
        (report(device_uuid="x" * 36), "device_uuid - "),
        (report(device_uuid=f"{{{DEVICE}}}"), "device_uuid - "),
        (report(user="alice"), "user - "),
        (report(user={"uid": 7}), "uid - "),
        (report(user={"uid": ""}), "uid - String value empty not allowed"),
    ],
)
async def test_bad_field_is_refused_by_name_and_nothing_is_stored(
    api: Api,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    document: object,
    why: str,
) -> None:
    answer = await send(api, document)

    assert answer.status_code == 400
    envelope = answer.json()
    assert sorted(envelope) == ["code", "description", "title"]
    assert envelope["title"] == "Invalid Field Value"
    assert envelope["description"].startswith(why)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert sandbox.events == []
    assert (
        "web_sdk_event_refused status=400 reason='Invalid Field Value'" in caplog.text
    )


@each(
    ("body", "title"),
    [
        (b"", "Empty request body"),
        (b"{", "Malformed JSON"),
        (json.dumps(click(widget_id="x" * MAX_REPORT)).encode(), "Payload Too Large"),
        (b"x" * (5 * 1024 * 1024), "Payload Too Large"),
    ],
)
async def test_bad_body_is_refused(body: bytes, title: str) -> None:
    sandbox = Sandbox()
    answer = await send(Api(sandbox), body)

    assert answer.status_code == (413 if title == "Payload Too Large" else 400)
    assert answer.json()["title"] == title
    assert sandbox.events == []


@each(
    ("app_id", "test_app_key", "taken"),
    [
        ("sandbox", True, True),
        ("sandbox_DEBUG", True, True),
        ("sandbox_DEBUG", False, False),
        ("another", True, False),
        ("", True, False),
    ],
)
async def test_report_is_taken_for_this_workspace_alone(
    app_id: str, test_app_key: bool, taken: bool
) -> None:
    sandbox = Sandbox(replace(sample_workspace(), test_app_key=test_app_key))

    answer = await send(Api(sandbox), report(app_id=app_id))

    assert answer.status_code == (204 if taken else 400)
    assert len(sandbox.events) == int(taken)
    assert taken or "appId is the workspace id" in answer.json()["description"]


async def test_other_origins_may_ask_first(api: Api) -> None:
    answer = await api.send("OPTIONS", "/_sandbox/web_sdk/events", headers=BEACON)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "content-type"


async def test_other_origins_report_below_a_mount_too(sandbox: Sandbox) -> None:
    transport = httpx.ASGITransport(app=sandbox, root_path="/box")
    async with httpx.AsyncClient(transport=transport) as client:
        address = "http://localhost/box/_sandbox/web_sdk/events"
        answer = await client.post(address, json=report(), headers=BEACON)

    assert answer.status_code == 204


async def test_script_is_served_to_any_page_and_asked_for_each_time(api: Api) -> None:
    answer = await api.send("GET", "/_sandbox/web_sdk.js", headers={"Accept": "*/*"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "eval" not in answer.text
    assert "Function(" not in answer.text


def test_page_of_events_tells_the_two_ways_apart(sandbox: Sandbox) -> None:
    with TestClient(sandbox) as client:
        client.post("/_sandbox/web_sdk/events", json=click(widget_id="Buy"))
        html = client.get("/events", headers={"Accept": "text/html"}).text
        clicks = client.get("/events?action=click", headers={"Accept": "text/html"})

    rows = html.partition("<tbody")[2]
    assert '<span class="click">click</span>' in rows
    assert '<td class="roomy">Web SDK</td>' in rows
    assert "<code>Buy</code>" in rows
    assert "Web SDK</td>" in clicks.text
