"""The tea shop, as the demo site and the README rely on it."""

from __future__ import annotations

from typing import Any

import pytest

from moe_middleware.sandbox import Experience, sample_workspace

from .calls import Api

NAMES = {
    "homepage-banner": {"Title", "Subtitle", "CTA Label", "CTA Link", "Theme"},
    "promo-strip": {"Text", "Code", "Link"},
    "price-badge": {"Label", "Percent", "Rounding", "Free shipping", "Products"},
    "cart-upsell": {"Headline", "Sku", "Note"},
}
SKUS = {"sencha", "assam", "chamomile", "earl-grey", "rooibos", "matcha"}


def contexts(experiences: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        key: (
            found["experience_context"]["audience_name"],
            found["experience_context"]["moe_variation_id"],
        )
        for key, found in experiences.items()
    }


@pytest.mark.parametrize(
    ("customer_id", "expected"),
    [
        (
            "alice",
            {
                "homepage-banner": ("Gold members", "1"),
                "promo-strip": ("All Users", "1"),
                "price-badge": ("Gold members", "1"),
                "cart-upsell": ("Known customers", "1"),
            },
        ),
        (
            "bob",
            {
                "homepage-banner": ("All Users", "1"),
                "promo-strip": ("All Users", "1"),
                "price-badge": ("Silver members", "1"),
                "cart-upsell": ("Known customers", "1"),
            },
        ),
        (
            "carol",
            {
                "homepage-banner": ("All Users", "2"),
                "promo-strip": ("All Users", "2"),
                "cart-upsell": ("Known customers", "2"),
            },
        ),
        (
            "dave",
            {
                "homepage-banner": ("Gold members", "2"),
                "promo-strip": ("All Users", "2"),
                "price-badge": ("Gold members", "1"),
                "cart-upsell": ("Known customers", "2"),
            },
        ),
    ],
)
async def test_sample_customer_gets_the_same_as_ever(
    api: Api, customer_id: str, expected: dict[str, tuple[str, str]]
) -> None:
    experiences = await api.experiences({"customer_id": customer_id})

    assert contexts(experiences) == expected


@pytest.mark.parametrize("key", NAMES)
def test_every_variation_has_the_same_names(key: str) -> None:
    (experience,) = [one for one in sample_workspace().experiences if one.key == key]

    names = [
        set(variation.payload)
        for audience in experience.audiences
        for variation in audience.variations
    ]

    assert all(one == NAMES[key] for one in names)


@pytest.mark.parametrize("one", sample_workspace().experiences, ids=lambda one: one.key)
def test_links_and_skus_exist_in_the_shop(one: Experience) -> None:
    for audience in one.audiences:
        for variation in audience.variations:
            said = {name: value.value for name, value in variation.payload.items()}
            links = {said[name] for name in ("CTA Link", "Link") if name in said}
            assert links <= {f"/products/{sku}" for sku in SKUS}
            assert set(said.get("Products", ())) <= SKUS
            assert {said.get("Sku", "sencha")} <= SKUS


def test_cid_tokens_tell_the_experiences_apart() -> None:
    experiences = sample_workspace().experiences

    assert len({one.cid_token for one in experiences}) == len(experiences)
