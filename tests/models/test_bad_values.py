"""Whatever callers hand over, nothing raises into the page."""

from __future__ import annotations

import decimal
import json
from collections import UserString, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from moe_middleware import Experience
from moe_middleware.models.plain_values import attributes_of, plain_of, text_of
from moe_middleware.sandbox import Sandbox

from ..rows import each
from ..sites import Site

KEY = "homepage-banner"
SECRET = "a-secret-for-this-test-and-no-other"


class Lazy:
    """A text that a framework makes at the last moment."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("secret")

    def __iter__(self) -> Any:
        raise RuntimeError("secret")


class Unequal(Raising):
    """Nothing to be looked up in a mapping."""

    def __hash__(self) -> int:
        raise RuntimeError("secret")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("secret")

    def __bool__(self) -> bool:
        raise RuntimeError("secret")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("secret")


class UnequalText(str):
    """A text of which the same is true."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("secret")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("secret")


class Scalar:
    """A number of a numerical library."""

    def item(self) -> float:
        return 1.5


@dataclass
class Row:
    sku: str
    price: decimal.Decimal


class Plan(Enum):
    GOLD = "gold"


class Key(StrEnum):
    HERO = KEY


DAY = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@each(
    ("value", "plain"),
    [
        (decimal.Decimal("19.90"), 19.9),
        (Fraction(1, 4), 0.25),
        (decimal.Decimal("NaN"), "NaN"),
        (float("inf"), "inf"),
        (2**70, str(2**70)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (Scalar(), 1.5),
        ({1}, [1]),
        (("a", deque(["b"])), ["a", ["b"]]),
        (DAY, "2026-11-30T08:00:00+00:00"),
        (date(2026, 11, 30), "2026-11-30"),
        (timedelta(minutes=1), 60.0),
        (UUID(int=1), str(UUID(int=1))),
        (b"text", "text"),
        ("half \ud800", "half \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        (Markup("<b>"), "<b>"),
        (Lazy("late"), "late"),
        (UserString("late"), "late"),
        (URL("https://a.example/"), "https://a.example/"),
        (Plan.GOLD, "gold"),
        (Row("1", decimal.Decimal("2")), {"sku": "1", "price": 2.0}),
        ({1: 2}, {"1": 2}),
        (True, True),
        (None, None),
    ],
)
def test_values_become_what_json_has(value: Any, plain: Any) -> None:
    found = plain_of(value)

    assert found == plain and type(found) is type(plain)
    assert orjson.loads(orjson.dumps(found)) == plain


@pytest.mark.parametrize(
    "value", [object(), ITSELF, Raising(), iter(int, 1), {"a": {object(): 1}}, type]
)
def test_what_json_has_not_is_refused_without_its_text(value: Any) -> None:
    with pytest.raises(ValueError, match=r"it|JSON|name") as raised:
        attributes_of({"a": value})

    assert "secret" not in str(raised.value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.decimals()
        | st.datetimes()
        | st.uuids()
        | st.binary()
        | st.characters(),
        lambda some: (
            st.lists(some) | st.dictionaries(st.text(), some) | st.tuples(some)
        ),
        max_leaves=20,
    )
)
def test_any_value_is_json_in_the_end(value: Any) -> None:
    assert orjson.dumps(plain_of(value))


@each(
    "given_", [None, 5, 0.5, True, b"/shop", [], {}, ["/shop"], object(), Raising(), ""]
)
def test_what_is_no_text_is_no_target(given_: Any) -> None:
    assert text_of(given_) in (None, "")


async def test_what_stands_for_a_text_is_a_target(sandbox: Sandbox) -> None:
    values = [URL("/shop"), Lazy("/shop"), UserString("/shop"), urlsplit("/shop")]
    targets: list[Any] = [*values, Markup("/shop")]

    async def handler(request: Request) -> Response:
        hero = request.state.experiences[KEY]
        plain = [Experience(key="x").click_url(one) for one in targets]
        return JSONResponse(
            [plain, [hero.click_url(one, Lazy("b")) for one in targets]]
        )

    site = Site(handler, secret_key=SECRET)
    plain, links = (await site.get(customer="alice")).json()
    followed = [await site.get(link, customer="alice") for link in links]
    await site.delivered()

    assert {*plain} == {"/shop"} == {one.headers["location"] for one in followed}
    assert sandbox.clicks(KEY, "b") == len(targets)


ODD: list[Any] = [
    *(
        None,
        0,
        5,
        -1.5,
        float("nan"),
        2**80,
        True,
        b"x",
        "",
        "\ud800",
        "\x00",
        "x" * 9_000,
    ),
    *([], {}, (), {1, 2}, [["x"]], {"a": object()}, object(), Raising(), ITSELF),
    *(
        decimal.Decimal("1"),
        DAY,
        UUID(int=1),
        Plan.GOLD,
        Key.HERO,
        Lazy(KEY),
        Markup(KEY),
    ),
    *(Scalar(), iter(int, 1), type, Ellipsis, Exception("secret")),
    *(Unequal(), UnequalText(KEY)),
]


async def test_no_argument_raises_into_the_page(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    left = [*ODD]

    async def handler(request: Request) -> Response:
        odd, found = left.pop(), request.state.experiences
        hero = found[KEY]
        values: list[Any] = [
            *(hero.get(odd), odd in hero, odd in found, bool(found[odd])),
            *(hero.click_url(odd, odd), hero.click_url("/shop", odd), hero.attrs(odd)),
            *(bool(found.show(odd)), bool(found.show(KEY, odd))),
            bool(await found.fetch(odd)),
            *(found.track_click(odd, odd), found.track_impression(odd)),
            found.track_click(KEY, odd),
            found.track_click(KEY, user_attributes=odd),
            found.track_click(KEY, user_attributes={"a": odd}),
            found.track_click(KEY, user_timezone_offset=odd),
            found.track_impression(KEY, user_attributes={"a": [odd]}),
            *(found.script(odd), found.web_sdk(odd), found.web_sdk(nonce=odd, api=odd)),
        ]
        return Response(json.dumps(values, default=str), media_type="application/json")

    site = Site(handler, secret_key=SECRET)
    while left:
        given_ = type(left[-1]).__name__
        assert (await site.get(customer="alice")).status_code == 200, given_
    await site.delivered()

    assert "secret" not in caplog.text
    # Whatever was counted has arrived: nothing is stuck in the outbox.
    assert (await site.runtime.outbox.count()).waiting == 0


async def test_an_unknown_way_of_counting_counts_as_the_route_says_and_is_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response:
        request.state.experiences.show(KEY, "visibel")
        return Response("")

    site = Site(handler, secret_key=SECRET)
    await site.get(customer="alice")
    await site.delivered()

    assert sandbox.impressions(KEY) == 1
    assert f"counting_unknown key={KEY}: " in caplog.text


async def test_an_offset_that_is_none_refuses_the_event_with_one_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        offsets = ("19800", 19800.0, timedelta(hours=5.5), "Asia/Kolkata", 54_001)
        results = [found.track_click(KEY, user_timezone_offset=one) for one in offsets]
        return JSONResponse([bool(one) for one in results])

    site = Site(handler)
    answer = await site.get(customer="alice")
    await site.delivered()

    assert answer.json() == [True, True, True, False, False]
    assert {one["user_timezone_offset"] for one in sandbox.events} == {19800}
    assert caplog.text.count("event_refused key=homepage-banner") == 2
