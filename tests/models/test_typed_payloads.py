"""Payloads as the app's own classes; what marketing may do to them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import pytest
import typing_extensions
from pydantic import AliasChoices, BaseModel, Field, field_validator

from moe_middleware import Experience, Experiences, Reason

from ..makers import CONTEXT


class Product(TypedDict):
    name: str
    price: float


class Hero(TypedDict):
    Title: str
    Percent: NotRequired[int]
    Products: NotRequired[list[Product]]
    Best: NotRequired[Product | None]
    Style: NotRequired[Annotated[Literal["light", "dark"], "look"]]


class Loose(TypedDict, total=False):
    Title: Required[str]
    Percent: int


# Most are the standard library's, which pydantic does not take on Python 3.11.
Odd = typing_extensions.TypedDict("Odd", {"CTA Label": str, "class": NotRequired[str]})


@dataclass
class Record:
    title: str
    cta_label: str
    percent: int = 0
    until: date | None = None
    codes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Priced:
    title: str = ""
    price: float = math.inf


class Offer(BaseModel):
    priced: Priced = Field(alias="Its price")


class Model(BaseModel):
    title: str
    label: str = Field(alias="CTA Label")
    percent: int = 0


class Named(BaseModel, extra="forbid"):
    """Names of its own for what the payload calls Title, Label and Percent."""

    title: str
    label: str = Field(validation_alias="Label")
    share: int = Field(validation_alias=AliasChoices("Share", "Percent"))


@dataclass
class Camel:
    ctaLabel: str


@dataclass
class Accented:
    größe: str


@dataclass
class Renamed:
    label: Annotated[str, Field(alias="Label")]
    title: str = ""


def of(**payload: Any) -> Experiences:
    found = Experience(key="hero", payload=payload, experience_context=CONTEXT)
    return Experiences([found])


GOOD = {"Title": "Sale", "CTA Label": "Shop", "Percent": 15, "Unknown": 1}


def test_each_kind_of_class_has_the_values() -> None:
    given = of(**GOOD, until="2026-12-24", Codes=["A"])

    record = given.typed("hero", Record)
    model = given.typed("hero", Model)

    assert given.typed("hero", Hero) == {"Title": "Sale", "Percent": 15}
    aliased = of(Title="Sale", Label="Shop", Percent=15)
    assert aliased.typed("hero", Renamed) == Renamed("Shop", "Sale")
    named = Named.model_construct(title="Sale", label="Shop", share=15)
    assert aliased.typed("hero", Named) == named
    assert given.typed("hero", Camel) == Camel("Shop")
    assert of(**{"Gro\u0308ße": "L"}).typed("hero", Accented) == Accented("L")
    assert given.typed("hero", Loose) == {"Title": "Sale", "Percent": 15}
    assert given.typed("hero", Odd) == {"CTA Label": "Shop"}
    assert record == Record("Sale", "Shop", 15, date(2026, 12, 24), ["A"])
    assert model is not None
    assert (model.title, model.label, model.percent) == ("Sale", "Shop", 15)


def test_infinity_is_a_title_or_a_default_but_no_price_of_a_payload() -> None:
    assert of(Title="Infinity").typed("hero", Priced) == Priced("Infinity")
    assert of(Title="1e400", Price="1e3").typed("hero", Priced) == Priced("1e400", 1e3)


def test_without_a_match_it_is_none_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = Experiences([])

    assert found.typed("hero", Hero) is None
    assert found["hero"].reason is Reason.NOT_REQUESTED
    assert caplog.messages == []


class Checked(BaseModel):
    title: str

    @field_validator("title")
    @classmethod
    def no_shouting(cls, value: str) -> str:
        if value.isupper():
            raise ValueError(f"{value} is loud")
        return value


@dataclass
class Raising:
    title: str

    def __post_init__(self) -> None:
        raise KeyError(self.title)


@dataclass
class Other:
    number: Annotated[int, Field(lt=5)] | Literal["many"]


@pytest.mark.parametrize(
    ("kind", "payload", "about"),
    [
        (Hero, {"Title": 5}, "Title expected=str given=int problem=string_type"),
        (Hero, {"Percent": 5}, "Title expected=str given=nothing problem=missing"),
        (
            Hero,
            {"Title": "x", "Percent": "s3cret"},
            "Percent expected=int given=str problem=int_parsing",
        ),
        (
            Hero,
            {"Title": "x", "Products": [{"name": "s3cret"}]},
            "Products expected=list[Product] given=list problem=missing",
        ),
        (Hero, {"Title": "x", "Best": "s3cret"}, "Best expected=Product | None"),
        (
            Hero,
            {"Title": "x", "Style": "s3cret"},
            "Style expected=Literal['light",
        ),
        *(
            (Priced, {"Title": "nan", "Price": odd}, "Price expected=float given=str")
            for odd in ("nan", " -Inf ", "Infinity", "1e400", "-1E+999", "9" * 400)
        ),
        (
            Hero,
            {"Title": "x", "Products": [{"name": "inf", "price": "inf"}]},
            "Products expected=list[Product] given=list problem=finite_number",
        ),
        (Offer, {"Its price": {"Price": "nan"}}, "Its price expected=Priced given=d"),
        (Loose, {"Percent": 1}, "Title expected=str given=nothing"),
        (Odd, {"CTA Label": None}, "CTA Label expected=str given=NoneType"),
        (
            Record,
            {"Title": "x", "CTA Label": ["s3cret"]},
            "CTA Label expected=str given=list problem=string_type",
        ),
        (Record, {"Title": "x"}, "cta_label expected=str given=nothing"),
        (Model, {"Title": "x"}, "CTA Label expected=str given=nothing"),
        (Checked, {"Title": "S3CRET"}, "Title expected=str given=str problem=value_er"),
        (Raising, {"Title": "s3cret"}, "- expected=- given=nothing problem=KeyError"),
        (Other, {"Number": "s3cret"}, "Number expected="),
        (
            Named,
            {"Title": "x", "Label": "x", "Percent": 1, "New": "s3cret"},
            "New expected=- given=str problem=extra_forbidden",
        ),
        (Renamed, {"Title": "x"}, "Label expected=str given=nothing problem=missing"),
    ],
)
def test_what_does_not_fit_is_a_fallback_and_one_line(
    kind: Any, payload: Any, about: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = of(**payload)
    found.show("hero")

    assert found.typed("hero", kind) is None

    hero = found["hero"]
    assert (bool(hero), hero.reason) == (False, Reason.BAD_PAYLOAD)
    assert found.show("hero") is hero
    assert found.shown == ()
    [line] = caplog.messages
    assert line.startswith(f"bad_payload key=hero field={about}")
    assert f"type={kind.__name__}: pages get the fallback" in line
    assert "s3cret" not in line.lower()


def test_the_same_line_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        of(Title=7.5).typed("hero", Hero)

    assert len(caplog.messages) == 1
    assert caplog.records[0].levelno == logging.WARNING


def unreadable() -> Any:
    @dataclass
    class Local:
        other: NotThere  # type: ignore[name-defined]  # noqa: F821

    return Local


@pytest.mark.parametrize("kind", [5, int, dict, dict[str, str], unreadable()])
@pytest.mark.parametrize("found", [Experiences([]), of(**GOOD)], ids=["none", "hero"])
def test_a_wrong_class_is_found_at_the_first_call(kind: Any, found: Any) -> None:
    with pytest.raises(TypeError, match=r"TypedDict|cannot be read"):
        found.typed("hero", kind)
