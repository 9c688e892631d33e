"""The tea shop, as the demo site and the README rely on it."""

from __future__ import annotations

from pathlib import Path

from moe_middleware.sandbox import Experience, Sandbox, sample_workspace
from moe_middleware.sandbox.workspace.file import load_workspace
from moe_middleware.sandbox.workspace.sample import sample_text

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


@each("customer_id", EXPECTED)
async def test_sample_customer_gets_the_same_each_time(customer_id: str) -> None:
    experiences = await Api(Sandbox()).experiences({"customer_id": customer_id})

    found = {
        key: "{audience_name} {moe_variation_id}".format(**one["experience_context"])
        for key, one in experiences.items()
    }
    expected = zip(NAMES, EXPECTED[customer_id], strict=True)
    assert found == {key: arm for key, arm in expected if arm}


@each("one", [one for one in sample_workspace().experiences if one.key in NAMES])
def test_names_links_and_skus_are_those_of_the_shop(one: Experience) -> None:
    for audience in one.audiences:
        for variation in audience.variations:
            values = {name: value.value for name, value in variation.payload.items()}
            links = {values[name] for name in ("CTA Link", "Link") if name in values}
            assert values.keys() == NAMES[one.key]
            assert links <= {f"/products/{sku}" for sku in SKUS}
            assert set(values.get("Products", ())) <= SKUS
            assert {values.get("Sku", "sencha")} <= SKUS


def test_file_loads_and_its_cid_tokens_tell_the_experiences_apart(
    tmp_path: Path,
) -> None:
    (tmp_path / "workspace.yml").write_text(sample_text(), encoding="utf-8")
    sample = load_workspace(tmp_path / "workspace.yml", environ={})

    assert sample == sample_workspace()
    tokens = {one.cid_token for one in sample.experiences}
    assert len(tokens) == len(sample.experiences)
