from __future__ import annotations

import pytest

from .calls import Api

ACTIVE = ["homepage-banner", "promo-strip", "price-badge", "cart-upsell"]
ALL = [*ACTIVE, "winter-sale", "autumn-hero"]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", ALL),
        ("?status=", ALL),
        ("?status=Active", ACTIVE),
        ("?status=Paused", ["autumn-hero"]),
        ("?status=Scheduled", ["winter-sale"]),
        ("?status=Active,Paused", [*ACTIVE, "autumn-hero"]),
        ("?status=Scheduled&status=Paused", ["winter-sale", "autumn-hero"]),
        ("?status=active", []),
        ("?status=Active,nonsense", ACTIVE),
        ("?status=nonsense", []),
        ("?status=Expired", []),
    ],
)
async def test_metadata_lists_what_has_the_status(
    api: Api, query: str, keys: list[str]
) -> None:
    response = await api.metadata(query)

    metadata = response.json()["metadata"]
    assert response.status_code == 200
    assert metadata["count"] == len(keys)
    assert [one["experience_key"] for one in metadata["experiences"]] == keys


async def test_metadata_has_the_published_form(api: Api) -> None:
    response = await api.metadata("?status=Paused")

    assert response.json() == {
        "metadata": {
            "count": 1,
            "experiences": [
                {
                    "experience_name": "Autumn hero",
                    "experience_key": "autumn-hero",
                    "status": "Paused",
                }
            ],
        }
    }
