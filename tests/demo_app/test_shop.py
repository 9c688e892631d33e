from __future__ import annotations

from demo_app.shop import (
    TEAS,
    add_to_cart,
    money,
    read_cart,
    read_offer,
    remove_from_cart,
    write_cart,
)

from ..rows import each

GOLD = {
    "Label": "Gold price",
    "Percent": 15,
    "Rounding": 0.5,
    "Free shipping": True,
    "Products": {"sencha": 15, "matcha": 20},
}


@each(
    ("text", "cart"),
    [
        ("sencha:2.earl-grey:1", {"sencha": 2, "earl-grey": 1}),
        ("", {}),
        ("coffee:1.assam:1", {"assam": 1}),
        ("sencha:0.assam:-1.rooibos:x", {}),
        ("sencha:99", {"sencha": 9}),
        ("sencha:10000000000", {}),
        ("sencha:²", {}),
    ],
)
def test_cart_is_read_as_far_as_it_makes_sense(text: str, cart: dict[str, int]) -> None:
    assert read_cart(text) == cart


def test_cart_takes_nine_of_a_tea_and_reads_back_as_it_was_written() -> None:
    cart = add_to_cart(add_to_cart({}, "sencha", 2), "earl-grey", 1)

    assert read_cart(write_cart(cart)) == cart
    assert add_to_cart({"sencha": 9}, "sencha", 1) == {"sencha": 9}
    assert remove_from_cart(cart, "sencha") == {"earl-grey": 1}


# Prices are rounded down to 50 pence: of 9.50 less 15%, of 18.00 less 20%.
@each(("sku", "price"), [("sencha", 800), ("matcha", 1400), ("assam", 780)])
def test_offer_lowers_the_price_of_its_own_teas(sku: str, price: int) -> None:
    assert read_offer(GOLD).price(TEAS[sku]) == price


@each(
    "wrong",
    [
        {},
        GOLD | {"Products": None},
        GOLD | {"Products": {"sencha": "free"}},
        GOLD | {"Products": {"sencha": float("nan")}},
        GOLD | {"Products": {"sencha": 100}},
        GOLD | {"Products": {"sencha": -15}},
        GOLD | {"Products": ["coffee", 1, ["sencha"]]},
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
