from __future__ import annotations

from ..calls import ACTION, CONTEXT, Api, action, element
from ..conftest import NOW


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


async def test_fetch_stores_nothing_and_makes_no_profile(api: Api) -> None:
    await api.fetch({"customer_id": "erin", "tier": "gold"})

    assert api.sandbox.events == []
    assert (
        await api.experiences(
            {"customer_id": "erin", "experience_key": ["price-badge", "cart-upsell"]}
        )
        == {}
    )
