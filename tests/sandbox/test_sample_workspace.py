"""The tea shop, as the demo site and the README rely on it."""

from __future__ import annotations

import pytest

from moe_middleware.sandbox import Experience, sample_workspace

from ..rows import each
from .calls import Api

NAMES = {
    "homepage-banner": {"Title", "Subtitle", "CTA Label", "CTA Link", "Theme"},
    "promo-strip": {"Text", "Code", "Link"},
    "price-badge": {"Label", "Percent", "Rounding", "Free shipping", "Products"},
    "cart-upsell": {"Headline", "Sku", "Note"},
}
SKUS = {"sencha", "assam", "chamomile", "earl-grey", "rooibos", "matcha"}


EXPECTED = {
    "alice": ("Gold members 1", "All Users 1", "Gold members 1", "Known customers 1"),
    "bob": ("All Users 1", "All Users 1", "Silver members 1", "Known customers 1"),
    "carol": ("All Users 2", "All Users 2", None, "Known customers 2"),
    "dave": ("Gold members 2", "All Users 2", "Gold members 1", "Known customers 2"),
}


@pytest.mark.parametrize("customer_id", EXPECTED)
async def test_sample_customer_gets_the_same_each_time(
    api: Api, customer_id: str
) -> None:
    experiences = await api.experiences({"customer_id": customer_id})

    found = {
        key: "{audience_name} {moe_variation_id}".format(**one["experience_context"])
        for key, one in experiences.items()
    }
    expected = zip(NAMES, EXPECTED[customer_id], strict=True)
    assert found == {key: arm for key, arm in expected if arm}


@pytest.mark.parametrize("key", NAMES)
def test_every_variation_has_the_same_names(key: str) -> None:
    (experience,) = [one for one in sample_workspace().experiences if one.key == key]

    names = [
        set(variation.payload)
        for audience in experience.audiences
        for variation in audience.variations
    ]

    assert all(one == NAMES[key] for one in names)


@each("one", sample_workspace().experiences)
def test_links_and_skus_exist_in_the_shop(one: Experience) -> None:
    for audience in one.audiences:
        for variation in audience.variations:
            values = {name: value.value for name, value in variation.payload.items()}
            links = {values[name] for name in ("CTA Link", "Link") if name in values}
            assert links <= {f"/products/{sku}" for sku in SKUS}
            assert set(values.get("Products", ())) <= SKUS
            assert {values.get("Sku", "sencha")} <= SKUS


def test_cid_tokens_tell_the_experiences_apart() -> None:
    experiences = sample_workspace().experiences

    assert len({one.cid_token for one in experiences}) == len(experiences)
