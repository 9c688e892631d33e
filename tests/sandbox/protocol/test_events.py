from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from moe_middleware.sandbox import Sandbox, sample_workspace

from ..calls import ACTION, CONTEXT, Api, action, element
from ..conftest import NOW


async def test_good_call_gets_a_receipt(api: Api) -> None:
    response = await api.report(action())

    receipt = response.json()
    assert response.status_code == 200
    assert set(receipt) == {"status", "message", "req_id"}
    assert receipt["status"] == "success"
    assert re.fullmatch(r"[A-Za-z]{8}", receipt["req_id"])


async def test_stored_event_is_the_action_with_its_user(api: Api) -> None:
    body = {
        "elements": [
            element(
                user_timezone_offset=19800,
                user_attributes={"first_name": "Erin"},
            )
        ]
    }

    await api.report(body)

    assert api.sandbox.events == [
        {
            "id": 1,
            "customer_id": "erin",
            "action": "MOE_PERSONALIZATION_MESSAGE_SHOWN",
            "moe_event_uuid": "aa886712-4537-47c1-b126-2686efda2e26",
            "event_time": 1725258666,
            "platform": "web",
            "attributes": CONTEXT,
            "b_id": None,
            "user_timezone_offset": 19800,
            "user_attributes": {"first_name": "Erin"},
            "experience_key": None,
            "audience_id": "5A",
            "variation_id": "2",
            "received_at": NOW,
            "via": "api",
            "device_uuid": None,
        }
    ]


async def test_context_of_a_fetch_goes_back_whole(api: Api) -> None:
    fetched = await api.experiences({"customer_id": "alice"})
    context = fetched["homepage-banner"]["experience_context"]

    response = await api.report(action(attributes=context))

    (event,) = api.sandbox.events
    assert response.status_code == 200
    assert event["attributes"] == context
    assert event["experience_key"] == "homepage-banner"
    assert event["variation_id"] == context["moe_variation_id"]


async def test_same_uuid_is_counted_once(api: Api) -> None:
    twice = {"elements": [element(actions=[ACTION, ACTION]), element()]}

    first, second = await api.report(twice), await api.report(action())

    assert [first.status_code, second.status_code] == [200, 200]
    assert len(api.sandbox.events) == 1


@pytest.mark.parametrize(
    ("fields", "b_id"),
    [
        ({"b_id": "Buy"}, "Buy"),
        ({"attributes": CONTEXT | {"b_id": "Buy"}}, "Buy"),
        ({"b_id": "Outer", "attributes": CONTEXT | {"b_id": "Inner"}}, "Outer"),
        ({}, None),
    ],
)
async def test_b_id_is_taken_from_either_place(
    api: Api, fields: dict[str, Any], b_id: str | None
) -> None:
    clicked = {"action": "MOE_PERSONALIZATION_MESSAGE_CLICKED"}

    await api.report(action(**clicked, **fields))

    assert api.sandbox.events[0]["b_id"] == b_id


@pytest.mark.parametrize(
    ("platform", "stored"),
    [
        ({"platform": "web"}, "web"),
        ({"platform": "ANDROID"}, "android"),
        ({"platform": "iOS"}, "ios"),
        ({"platform": "Tv"}, "tv"),
        ({"platform": "toaster"}, "Unknown"),
        ({"platform": None}, "Unknown"),
        ({"platform": ["web"]}, "Unknown"),
        ({}, "Unknown"),
    ],
)
async def test_platform_is_one_of_four_or_unknown(
    api: Api, platform: dict[str, Any], stored: str
) -> None:
    bare = {key: value for key, value in ACTION.items() if key != "platform"}

    response = await api.report({"elements": [element(actions=[bare | platform])]})

    assert response.status_code == 200
    assert api.sandbox.events[0]["platform"] == stored


async def test_strict_workspace_refuses_an_unknown_platform() -> None:
    api = Api(Sandbox(replace(sample_workspace(), strict_platform=True)))

    refused = await api.report(action(platform="toaster"))
    taken = await api.report(action(platform="TV"))

    assert refused.json()["description"].endswith("Errored Field: actions")
    assert [refused.status_code, taken.status_code] == [400, 200]
    assert len(api.sandbox.events) == 1


@pytest.mark.parametrize(
    "event_time",
    [
        1725258666,
        1725258666.0,
        "2024-09-02T06:31:06Z",
        "2024-09-02T12:01:06+05:30",
        "2024-09-02T06:31:06",
    ],
)
async def test_event_time_is_stored_in_whole_seconds(
    api: Api, event_time: object
) -> None:
    await api.report(action(event_time=event_time))

    stored = api.sandbox.events[0]["event_time"]
    assert (stored, type(stored)) == (1725258666, int)


@pytest.mark.parametrize("offset", [-54000, 0, 54000])
async def test_offset_may_be_as_large_as_documented(api: Api, offset: int) -> None:
    await api.report({"elements": [element(user_timezone_offset=offset)]})

    assert api.sandbox.events[0]["user_timezone_offset"] == offset


async def test_hundred_elements_are_taken_in_their_order(api: Api) -> None:
    elements = [
        element(customer_id=str(n), actions=[ACTION | {"moe_event_uuid": str(n)}])
        for n in range(100)
    ]

    await api.report({"elements": elements})

    stored = [event["customer_id"] for event in api.sandbox.events]
    assert stored == [str(n) for n in range(100)]


async def test_unknown_customer_gets_a_profile_that_audiences_see(api: Api) -> None:
    badge = {"customer_id": "erin", "experience_key": ["price-badge"]}
    before = await api.experiences(badge)

    await api.report({"elements": [element(user_attributes={"tier": "gold"})]})

    assert before == {}
    assert list(await api.experiences(badge)) == ["price-badge"]


async def test_known_customer_keeps_what_is_not_updated(api: Api) -> None:
    promotion = element(customer_id="bob", user_attributes={"tier": "gold"})

    await api.report({"elements": [promotion]})

    identifiers = {"user_identifiers": {"u_em": "bob@example.com"}}
    experiences = await api.experiences({"identifiers": identifiers})
    context = experiences["homepage-banner"]["experience_context"]
    assert context["audience_name"] == "Gold members"


async def test_fetch_stores_nothing_and_makes_no_profile(api: Api) -> None:
    await api.fetch({"customer_id": "erin", "tier": "gold"})

    assert api.sandbox.events == []
    assert (
        await api.experiences(
            {"customer_id": "erin", "experience_key": ["price-badge", "cart-upsell"]}
        )
        == {}
    )
