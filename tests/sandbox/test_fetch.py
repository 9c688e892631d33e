from __future__ import annotations

from typing import Any

import pytest

from moe_middleware.sandbox import Sandbox, Workspace

from .calls import Api
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
        {"customer_id": "bob", "identifiers": {"customer_id": "alice"}},
        {"user_id": "bob", "customer_id": "alice"},
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
        {"user_identifiers": {"u_em": "ALICE@example.com"}},
    ],
)
async def test_unknown_visitor_gets_all_users_experiences_only(
    api: Api, identifiers: dict[str, Any]
) -> None:
    experiences = await api.experiences({"identifiers": identifiers})

    assert {audience(experiences, key) for key in experiences} == {"All Users"}
    assert set(experiences) == {"homepage-banner", "promo-strip"}


async def test_fetch_without_keys_returns_all_that_match(api: Api) -> None:
    for body in (
        {"customer_id": "alice"},
        {"customer_id": "alice", "experience_key": []},
    ):
        found = list(await api.experiences(body))
        assert found == ["homepage-banner", "promo-strip", "price-badge", "cart-upsell"]


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
