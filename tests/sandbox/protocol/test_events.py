from __future__ import annotations

from ..calls import ACTION, Api, action, element


async def test_context_of_a_fetch_goes_back_whole(api: Api) -> None:
    fetched = await api.experiences({"customer_id": "alice"})
    context = fetched["homepage-banner"]["experience_context"]

    response = await api.report(action(attributes=context))

    (event,) = api.sandbox.events
    assert response.status_code == 200
    assert (event["attributes"], event["via"]) == (context, "api")
    assert event["experience_key"] == "homepage-banner"
    assert event["variation_id"] == context["moe_variation_id"]


async def test_unknown_customer_gets_a_profile_that_audiences_see(api: Api) -> None:
    badge = {"customer_id": "erin", "experience_key": ["price-badge"]}
    before = await api.experiences(badge)

    erin = element(user_attributes={"tier": "gold"}, user_timezone_offset=19800)
    zoe = element(customer_id="zoe", actions=[ACTION | {"moe_event_uuid": "z"}])
    await api.report({"elements": [erin, zoe]})

    stored = [(e["customer_id"], e["user_timezone_offset"]) for e in api.sandbox.events]
    assert stored == [("erin", 19800), ("zoe", None)]
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
