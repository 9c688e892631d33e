"""The teas, the cart and the prices. Pure: no I/O, no request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, isfinite
from typing import Any

MOST_OF_ONE_TEA = 9
STEEPEST_PERCENT = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Tea:
    """One tea on the shelf.

    Attributes:
        sku: Its name in addresses and in the cart.
        price: In pence.
        water: How hot, in degrees Celsius.
        minutes: How long it steeps.
    """

    sku: str
    name: str
    price: int
    origin: str
    note: str
    story: str
    weight: str
    water: int
    minutes: str


TEAS: Mapping[str, Tea] = {
    tea.sku: tea
    for tea in (
        Tea(
            sku="sencha",
            name="Sencha",
            price=950,
            origin="Shizuoka, Japan",
            note="Steamed young leaf. Grassy and bright, with a little sea air.",
            story="Picked in the first days of May and steamed within the hour, which "
            "keeps the needles green and the cup clear. Let the water cool first.",
            weight="80 g",
            water=75,
            minutes="1½",
        ),
        Tea(
            sku="assam",
            name="Assam",
            price=780,
            origin="Brahmaputra valley, India",
            note="Malty and round, the colour of old copper. Takes milk well.",
            story="A second-flush leaf with golden tips, grown where the river floods "
            "and the mornings are hot. It is the tea to wake up with.",
            weight="125 g",
            water=98,
            minutes="4",
        ),
        Tea(
            sku="chamomile",
            name="Chamomile",
            price=640,
            origin="Nile delta, Egypt",
            note="Whole flower heads, apple and honey. No caffeine, no hurry.",
            story="Dried whole, so that the flowers open again in the pot. Cover the "
            "cup while it steeps: the best of it is in the steam.",
            weight="50 g",
            water=95,
            minutes="6",
        ),
        Tea(
            sku="earl-grey",
            name="Earl Grey",
            price=820,
            origin="Uva, Sri Lanka",
            note="High-grown black tea with cold-pressed bergamot and cornflower.",
            story="The oil comes from the rind of one winter's fruit, so the scent is "
            "sharper in January and softer by June. Good with lemon, better without.",
            weight="100 g",
            water=95,
            minutes="3",
        ),
        Tea(
            sku="rooibos",
            name="Rooibos",
            price=690,
            origin="Cederberg, South Africa",
            note="Sun-dried red bush. Vanilla, warm wood, nothing bitter.",
            story="Cut, bruised and left in the sun until it turns from green to red "
            "in an afternoon. You cannot steep it too long, so forget the clock.",
            weight="100 g",
            water=98,
            minutes="7",
        ),
        Tea(
            sku="matcha",
            name="Matcha",
            price=1800,
            origin="Uji, Japan",
            note="Shade-grown and stone-milled. Sweet green, fine foam.",
            story="Three weeks under shade cloth, then an hour of the millstone for "
            "every forty grams. Sift it, add a little water, and whisk from the wrist.",
            weight="30 g",
            water=80,
            minutes="½",
        ),
    )
}

Cart = dict[str, int]


def read_cart(text: str) -> Cart:
    """Read ``sencha:2.assam:1``; what is no tea or no sensible count is left out."""
    cart: Cart = {}
    for part in text.split("."):
        sku, _, count = part.partition(":")
        # The cookie is the browser's: `isdigit` takes digits that `int` does not.
        if sku in TEAS and count.isascii() and count.isdigit() and len(count) < 3:
            cart[sku] = min(int(count), MOST_OF_ONE_TEA)
    return {sku: count for sku, count in cart.items() if count}


def write_cart(cart: Cart) -> str:
    """Return the cart as ``read_cart`` reads it."""
    return ".".join(f"{sku}:{count}" for sku, count in cart.items())


def add_to_cart(cart: Cart, sku: str, count: int) -> Cart:
    """Return a cart with more of one tea, up to what we post in one parcel."""
    return {**cart, sku: min(cart.get(sku, 0) + count, MOST_OF_ONE_TEA)}


def remove_from_cart(cart: Cart, sku: str) -> Cart:
    """Return a cart without this tea."""
    return {kept: count for kept, count in cart.items() if kept != sku}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The price badge's content, checked: payloads are other people's text.

    Attributes:
        percents: How much less each of its teas costs, by sku.
        step: Prices are rounded down to a multiple of this, in pence.
        free_shipping: Whether the parcel travels at our cost.
    """

    percents: Mapping[str, float]
    step: int
    free_shipping: bool

    def covers(self, tea: Tea) -> bool:
        """Whether this tea costs less."""
        return tea.sku in self.percents

    def price(self, tea: Tea) -> int:
        """Return what the visitor pays for one, in pence."""
        if not self.covers(tea):
            return tea.price
        lowered = tea.price * (100 - self.percents[tea.sku]) / 100
        # The small amount undoes what floats lose: 15% off £10 is not £8.4999.
        return floor(lowered / self.step + 1e-9) * self.step


def read_offer(payload: Mapping[str, Any]) -> Offer:
    """Read the payload of ``price-badge``.

    ``Products`` gives each tea its own percentage, or lists teas that share
    ``Percent``. A senseless content is no offer.
    """
    products = payload.get("Products")
    if isinstance(products, list):
        shared = payload.get("Percent")
        products = {sku: shared for sku in products if isinstance(sku, str)}
    offered = products if isinstance(products, Mapping) else {}
    percents = {sku: _number(given) for sku, given in offered.items() if sku in TEAS}
    return Offer(
        percents={sku: p for sku, p in percents.items() if 0 < p <= STEEPEST_PERCENT},
        step=min(max(round(_number(payload.get("Rounding")) * 100), 1), 100),
        free_shipping=payload.get("Free shipping") is True,
    )


def _number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return number if isfinite(number) else 0.0


def money(pence: int) -> str:
    """Return an amount as a price tag shows it."""
    return f"£{pence / 100:,.2f}"
