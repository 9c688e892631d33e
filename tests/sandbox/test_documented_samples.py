"""The documents' own sample requests, with their placeholders filled in."""

from __future__ import annotations

from typing import Any

import pytest

from .calls import Api

CURL = {
    "Accept": "*/*",
    "Content-Type": "application/json",
    "Authorization": "Basic c2FuZGJveDpzYW5kYm94LWtleQ==",
    "MOE-APPKEY": "sandbox",
}

FETCHES = {
    "2024": """{ "customer_id": "alice", "visitor_id": "b1946ac9-2492-4d23-a4c8",
"experience_key": ["homepage-banner"], "Custom_attribute":"utm_medium: email",
"DAY_OF_THE_WEEK": "Monday", "TIME_OF_THE_DAY": "19",
"USER_IP_ADDRESS": "203.0.113.7", "USER_AGENT": "Mozilla/5.0 (X11; Linux)" }""",
    "2025": """{ "customer_id": "alice", "experience_key": ["homepage-banner"],
"Custom_attribute":"utm_medium: email", "DAY_OF_THE_WEEK": "Monday",
"TIME_OF_THE_DAY": "19", "USER_IP_ADDRESS": "203.0.113.7",
"USER_AGENT": "Mozilla/5.0 (X11; Linux)" }""",
    "newest": """{"identifiers": {"customer_id": "alice"},
 "experience_key": ["homepage-banner"]}""",
    "newest, in session": """{"identifiers": {"customer_id": "alice"},
"utm_medium":"email", "DAY_OF_THE_WEEK":"Sunday", "TIME_OF_THE_DAY": "00",
"experience_key": ["homepage-banner", "promo-strip"]}""",
}

# The comma after user_attributes is missing in the document, too.
NEW_USER = """"user_attributes": {
"name": "John Doe",
"first_name": "John",
"last_name": "Doe"
}
"""


EVENT = """{
"elements": [
{
"customer_id": "john@example.com",
USER_ATTRIBUTES"user_timezone_offset": 19800,
"actions": [
{
"action": "ACTION",
"moe_event_uuid": "aa886712-4537-47c1-b126-2686efda2e26",
"event_time": 1725258666,
"platform": "web",
"attributes": {
"cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",
"experience": "Test Server side experience",
"moe_locale_id": "0",
"moe_variation_id": "2",
B_ID"audience_name": "All Users",
"audience_id": "5A",
"type": "Web Personalization"
}
}
]
}
]
}"""


def events_body(action: str, b_id: str = "", user_attributes: str = "") -> bytes:
    body = EVENT.replace("ACTION", action).replace("B_ID", b_id)
    return body.replace("USER_ATTRIBUTES", user_attributes).encode()


SHOWN = "MOE_PERSONALIZATION_MESSAGE_SHOWN"
CLICKED = "MOE_PERSONALIZATION_MESSAGE_CLICKED"
ADD_TO_CART = '"b_id": "Add to Cart",\n'


@pytest.mark.parametrize("sample", FETCHES.values(), ids=FETCHES)
async def test_sample_fetch_is_answered(api: Api, sample: str) -> None:
    response = await api.send("POST", "/v1/experiences/fetch", sample.encode(), CURL)

    assert response.status_code == 200
    assert "homepage-banner" in response.json()["experiences"]


EVENTS = {
    "impression": (events_body(SHOWN), {"action": SHOWN, "b_id": None}),
    "click": (
        events_body(CLICKED, ADD_TO_CART),
        {"action": CLICKED, "b_id": "Add to Cart"},
    ),
    "new user, comma added": (
        events_body(SHOWN, user_attributes=f"{NEW_USER.rstrip()},\n"),
        {"action": SHOWN, "customer_id": "john@example.com"},
    ),
    "new user, as printed": (events_body(SHOWN, user_attributes=NEW_USER), None),
}


@pytest.mark.parametrize(("body", "stored"), EVENTS.values(), ids=EVENTS)
async def test_sample_event_is_stored(
    api: Api, body: bytes, stored: dict[str, Any] | None
) -> None:
    response = await api.send("POST", "/v1/experiences/events", body, CURL)

    if stored is None:
        assert response.json()["title"] == "Malformed JSON"
        return
    (event,) = api.sandbox.events
    assert response.json()["status"] == "success"
    assert event | stored == event
    assert event["user_timezone_offset"] == 19800
