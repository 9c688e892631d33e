from __future__ import annotations

import pytest

from demo_app.shop import (
    TEAS,
    add_to_cart,
    money,
    read_cart,
    read_offer,
    remove_from_cart,
    write_cart,
)

GOLD = {
    "Label": "Gold price",
    "Percent": 15,
    "Rounding": 0.5,
    "Free shipping": True,
    "Products": {"sencha": 15, "matcha": 20},
}


@pytest.mark.parametrize(
    ("text", "cart"),
    [
        pytest.param("sencha:2.earl-grey:1", {"sencha": 2, "earl-grey": 1}, id="two"),
        pytest.param("", {}, id="empty"),
        pytest.param("coffee:1.assam:1", {"assam": 1}, id="unknown tea"),
        pytest.param("sencha:0.assam:-1.rooibos:x", {}, id="no counts"),
        pytest.param("sencha:99", {"sencha": 9}, id="too many"),
        pytest.param("sencha:10000000000", {}, id="absurdly many"),
        pytest.param("sencha:²", {}, id="not an ascii digit"),
    ],
)
def test_cart_is_read_as_far_as_it_makes_sense(text: str, cart: dict[str, int]) -> None:
    assert read_cart(text) == cart


def test_cart_reads_back_as_it_was_written() -> None:
    cart = add_to_cart(add_to_cart({}, "sencha", 2), "earl-grey", 1)

    assert read_cart(write_cart(cart)) == cart


def test_one_parcel_takes_nine_of_a_tea() -> None:
    assert add_to_cart({"sencha": 9}, "sencha", 1) == {"sencha": 9}


def test_removed_tea_leaves_the_others() -> None:
    assert remove_from_cart({"sencha": 1, "assam": 2}, "sencha") == {"assam": 2}


@pytest.mark.parametrize(
    ("sku", "price"),
    [
        pytest.param("sencha", 800, id="15% of 9.50, down to 50 pence"),
        pytest.param("matcha", 1400, id="20% of 18.00, down to 50 pence"),
        pytest.param("assam", 780, id="not on offer"),
    ],
)
def test_offer_lowers_the_price_of_its_own_teas(sku: str, price: int) -> None:
    assert read_offer(GOLD).price(TEAS[sku]) == price


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({}, id="nothing"),
        pytest.param(GOLD | {"Products": None}, id="no products"),
        pytest.param(GOLD | {"Products": {"sencha": "free"}}, id="text"),
        pytest.param(GOLD | {"Products": {"sencha": float("nan")}}, id="no number"),
        pytest.param(GOLD | {"Products": {"sencha": 100}}, id="for nothing"),
        pytest.param(GOLD | {"Products": {"sencha": -15}}, id="dearer"),
        pytest.param(GOLD | {"Products": ["coffee", 1, ["sencha"]]}, id="no teas"),
    ],
)
def test_offer_that_makes_no_sense_leaves_the_price(wrong: dict[str, object]) -> None:
    offer = read_offer(wrong)

    assert not offer.covers(TEAS["sencha"])
    assert offer.price(TEAS["sencha"]) == 950


def test_listed_teas_share_the_percentage() -> None:
    offer = read_offer({"Percent": 10, "Products": ["sencha"]})

    assert offer.price(TEAS["sencha"]) == 855


def test_money_has_pounds_and_two_digits_of_pence() -> None:
    assert money(123450) == "£1,234.50"
