from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moe_middleware.sandbox import Sandbox, Workspace, sample_workspace

from .calls import HEADERS, Api
from .conftest import NOW

FETCH = "/v1/experiences/fetch"
BANNER = {"experience_key": ["homepage-banner"]}


def audience(experiences: dict[str, Any], key: str) -> str | None:
    found = experiences.get(key)
    return found["experience_context"]["audience_name"] if found else None


async def test_answer_has_the_published_form(api: Api) -> None:
    body = {"identifiers": {"customer_id": "alice"}, "experience_key": ["price-badge"]}

    response = await api.fetch(body)

    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "experiences": {
            "price-badge": {
                "payload": {
                    "Label": {"value": "Gold price", "data_type": "string"},
                    "Percent": {"value": 15, "data_type": "number"},
                    "Rounding": {"value": 0.5, "data_type": "float"},
                    "Free shipping": {"value": True, "data_type": "boolean"},
                    "Products": {
                        "value": {"sencha": 15, "earl-grey": 15, "matcha": 20},
                        "data_type": "json",
                    },
                },
                "experience_context": {
                    "cid": "68d3a377b25d904c10f1f836_F_T_WP_AB_1_P_0_AU_1A",
                    "experience": "Price badge",
                    "moe_locale_id": "0",
                    "moe_variation_id": "1",
                    "audience_name": "Gold members",
                    "audience_id": "1A",
                    "type": "Web Personalization",
                    "experience_type": "API based Experience",
                },
            }
        }
    }


@pytest.mark.parametrize(
    "body",
    [
        {"identifiers": {"customer_id": "alice"}},
        {"customer_id": "alice"},
        {"user_id": "alice"},
        {"customer_id": "alice", "visitor_id": "v-1"},
        {"customer_id": "bob", "identifiers": {"customer_id": "alice"}},
        {"user_id": "bob", "customer_id": "alice"},
        {"identifiers": {"user_identifiers": {"u_em": "alice@example.com"}}},
        {"identifiers": {"user_identifiers": "alice@example.com"}},
        {
            "identifiers": {
                "customer_id": "nobody",
                "user_identifiers": {"u_mb": "1", "u_em": "alice@example.com"},
            }
        },
    ],
)
async def test_every_dialect_finds_the_same_customer(
    api: Api, body: dict[str, Any]
) -> None:
    by_id = await api.experiences(BANNER | {"customer_id": "alice"})

    assert audience(by_id, "homepage-banner") == "Gold members"
    assert await api.experiences(BANNER | body) == by_id


@pytest.mark.parametrize(
    "identifiers",
    [
        {},
        {"customer_id": "nobody"},
        {"customer_id": ""},
        {"user_identifiers": {"u_em": "ALICE@example.com"}},
        {"user_identifiers": {"first_name": "Alice"}},
        {"user_identifiers": "nobody@example.com"},
    ],
)
async def test_unknown_visitor_gets_all_users_experiences_only(
    api: Api, identifiers: dict[str, Any]
) -> None:
    experiences = await api.experiences({"identifiers": identifiers})

    assert {audience(experiences, key) for key in experiences} == {"All Users"}
    assert set(experiences) == {"homepage-banner", "promo-strip"}


async def test_identifiers_find_nobody_without_identity_resolution() -> None:
    api = Api(Sandbox(replace(sample_workspace(), identity_resolution=False)))
    identifiers = {"user_identifiers": {"u_em": "alice@example.com"}}

    experiences = await api.experiences({"identifiers": identifiers})

    assert audience(experiences, "homepage-banner") == "All Users"


@pytest.mark.parametrize("no_keys", [{}, {"experience_key": []}])
async def test_fetch_without_keys_returns_all_that_match(
    api: Api, no_keys: dict[str, Any]
) -> None:
    experiences = await api.experiences(no_keys | {"customer_id": "alice"})

    assert list(experiences) == [
        "homepage-banner",
        "promo-strip",
        "price-badge",
        "cart-upsell",
    ]


async def test_single_key_may_be_a_plain_string(api: Api) -> None:
    experiences = await api.experiences({"experience_key": "promo-strip"})

    assert list(experiences) == ["promo-strip"]


async def test_key_without_match_is_left_out(api: Api) -> None:
    keys = ["no-such-key", "price-badge", "cart-upsell"]

    experiences = await api.experiences(
        {"customer_id": "carol", "experience_key": keys}
    )

    assert list(experiences) == ["cart-upsell"]


async def test_no_match_at_all_is_an_empty_answer(api: Api) -> None:
    assert await api.experiences({"experience_key": ["no-such-key"]}) == {}


@pytest.mark.parametrize("key", ["winter-sale", "autumn-hero", "old-hero"])
async def test_experience_that_is_not_active_is_left_out(api: Api, key: str) -> None:
    assert await api.experiences({"experience_key": [key]}) == {}


async def test_paused_experience_may_be_an_empty_payload() -> None:
    api = Api(Sandbox(replace(sample_workspace(), paused_as_empty_payload=True)))
    keys = ["winter-sale", "autumn-hero", "old-hero"]

    named = await api.experiences({"experience_key": keys})
    unnamed = await api.experiences({})

    assert named == {"winter-sale": {"payload": {}}, "autumn-hero": {"payload": {}}}
    assert set(unnamed) == {"homepage-banner", "promo-strip"}


async def test_only_the_first_25_keys_are_answered(api: Api) -> None:
    fill = [f"no-such-key-{number}" for number in range(24)]

    within = await api.experiences({"experience_key": [*fill, "homepage-banner"]})
    beyond = await api.experiences({"experience_key": [*fill, "x", "homepage-banner"]})

    assert list(within) == ["homepage-banner"]
    assert beyond == {}


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ({}, "All Users"),
        ({"utm_medium": "email"}, "Email visitors"),
        ({"utm_medium": "Email"}, "All Users"),
        ({"utm_medium": ["email"]}, "All Users"),
        ({"utm_medium": None}, "All Users"),
        ({"TIME_OF_THE_DAY": "17"}, "All Users"),
        ({"TIME_OF_THE_DAY": "18"}, "Evening"),
        ({"TIME_OF_THE_DAY": "23"}, "Evening"),
        ({"TIME_OF_THE_DAY": "00"}, "All Users"),
        ({"TIME_OF_THE_DAY": "20", "utm_medium": "email"}, "Email visitors"),
    ],
)
async def test_in_session_attributes_choose_the_audience(
    api: Api, session: dict[str, Any], expected: str
) -> None:
    experiences = await api.experiences(session)

    assert audience(experiences, "promo-strip") == expected


async def test_visitor_id_keeps_an_anonymous_visitor_in_one_variation(api: Api) -> None:
    def variation(experiences: dict[str, Any]) -> str:
        context = experiences["homepage-banner"]["experience_context"]
        return str(context["moe_variation_id"])

    answers = {
        f"v-{n}": [
            variation(await api.experiences(BANNER | {"visitor_id": f"v-{n}"}))
            for _ in range(2)
        ]
        for n in range(12)
    }

    assert all(first == second for first, second in answers.values())
    assert {first for first, _ in answers.values()} == {"1", "2"}


@pytest.mark.parametrize(
    "content_type", [None, "application/JSON", "application/json; charset=utf-8"]
)
async def test_content_type_does_not_matter(api: Api, content_type: str | None) -> None:
    headers = {k: v for k, v in HEADERS.items() if k != "Content-Type"}
    headers |= {} if content_type is None else {"Content-Type": content_type}

    response = await api.send("POST", "/v1/experiences/fetch", BANNER, headers)

    assert list(response.json()["experiences"]) == ["homepage-banner"]


async def test_every_fetch_answer_tells_what_is_left(api: Api) -> None:
    good = await api.fetch({})
    bad = await api.fetch(b"{")
    stranger = await api.send("POST", "/v1/experiences/fetch", {}, {})

    left = [one.headers["x-ratelimit-remaining"] for one in (good, bad, stranger)]
    assert left == ["9999", "9998", "9998"]
    assert good.headers["x-ratelimit-limit"] == "10000"
    assert int(good.headers["x-ratelimit-reset"]) - NOW == pytest.approx(30, abs=30)
    assert "x-ratelimit-limit" not in (await api.metadata()).headers


async def test_fetch_beyond_the_limit_waits_for_the_next_minute() -> None:
    now = [NOW]
    api = Api(Sandbox(Workspace(fetch_limit=2), clock=lambda: now[0]))

    statuses = [(await api.fetch({})).status_code for _ in range(3)]
    refused = await api.fetch({})
    now[0] = float(refused.headers["x-ratelimit-reset"])
    again = await api.fetch({})

    assert statuses == [200, 200, 429]
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert set(refused.json()) == {"title", "description"}
    assert again.status_code == 200
    assert again.headers["x-ratelimit-remaining"] == "1"
