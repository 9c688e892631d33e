"""In-session attributes: thresholds and exclusions, and numbers that travel as text."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.workspace.comparisons import parameter_compares
from moe_middleware.sandbox.workspace.file import parse_workspace
from moe_middleware.sandbox.workspace.rules import Operator

from ..rows import each
from .calls import Api

FILE = """
experiences:
  - key: homepage-banner
    name: Homepage banner
    audiences:
      - name: Some
        in_session: {rules}
        variations: [{{payload: {{Title: Hello}}}}]
"""

MISSING: dict[str, Any] = {}


def cart(value: Any) -> dict[str, Any]:
    return {"cart_value": value}


ROWS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    # thresholds
    "{query: {cart_value: {at_least: 500}}}": (
        [
            cart(v)
            for v in ("500", 500, "500.0", "500.00", 500.0, " 501 ", "1e3"[:1] * 4)
        ],
        [
            MISSING,
            *map(cart, ("499.99", 499, "", "many", "1e9", None, True, [500], {})),
        ],
    ),
    "{query: {cart_value: {above: 500}}}": (
        [cart("500.01"), cart(501)],
        [cart("500"), cart(500.0), MISSING],
    ),
    "{query: {cart_value: {below: 500}}}": (
        [cart("499"), cart(-1), cart("-1.5"), cart("+3")],
        [cart("500"), cart("0x10"), cart("nan"), cart("-inf"), MISSING],
    ),
    "{query: {cart_value: {at_most: 150.5}}}": (
        [cart("150.50"), cart(150)],
        [cart("150.51"), cart(151)],
    ),
    "{query: {cart_value: {between: [100, 200]}}}": (
        [cart("100"), cart(200), cart("150.00")],
        [cart("99.9"), cart("200.1"), MISSING],
    ),
    "{query: {cart_value: {at_least: 100, below: 200, is_not: 150}}}": (
        [cart("100"), cart(199.5)],
        [cart("150.0"), cart(150), cart("200"), cart("99"), MISSING],
    ),
    # equality
    "{query: {cart_value: 500}}": (
        [cart(500), cart("500"), cart("500.0"), cart(500.0)],
        [cart("501"), cart("5e2"), cart(True), MISSING],
    ),
    "{query: {cart_value: '500'}}": (
        [cart(500), cart("500"), cart(500.0)],
        [cart("500.0"), cart("0500"), cart(501), MISSING],
    ),
    "{query: {version: '1.10'}}": (
        [{"version": "1.10"}],
        [{"version": "1.1"}, {"version": 1.1}],
    ),
    "{query: {code: '007'}}": ([{"code": "007"}], [{"code": "7"}, {"code": 7}]),
    "{query: {cart_value: [1, 2.50, big]}}": (
        [cart("1"), cart("2.5"), cart(2.5), cart("big")],
        [cart("3"), cart("BIG"), MISSING],
    ),
    "{query: {id: 12345678901234567}}": (
        [{"id": "12345678901234567"}, {"id": 12345678901234567}],
        [{"id": "12345678901234568"}],
    ),
    "{query: {new: true}}": (
        [{"new": True}, {"new": "true"}, {"new": "True"}],
        [{"new": "1"}, {"new": 1}, {"new": False}, {"new": "false"}, MISSING],
    ),
    "{query: {one: 1}}": ([{"one": 1}, {"one": "1"}], [{"one": True}]),
    "{query: {utm_medium: {is: email, ignore_case: true}}}": (
        [{"utm_medium": "EMail"}],
        [{"utm_medium": "sms"}],
    ),
    "{query: {utm_medium: {include: [email, sms]}}}": (
        [{"utm_medium": "sms"}],
        [{"utm_medium": "push"}, MISSING],
    ),
    # text and presence
    "{query: {sku: {starts_with: 12}}}": (
        [{"sku": "123"}, {"sku": 12}],
        [{"sku": "3"}],
    ),
    "{query: {sku: {contains: [tea, mug]}}}": ([{"sku": "a-mug"}], [{"sku": "a"}]),
    "{query: {sku: {exists: true}}}": ([{"sku": ""}, {"sku": 0}], [MISSING]),
    "{query: {sku: {exists: false}}}": ([MISSING], [{"sku": "x"}]),
    "{query: {since: {after: 2026-01-31}}}": (
        [{"since": "2026-02-01"}],
        [{"since": "2026-01-31"}, {"since": "soon"}, MISSING],
    ),
    # exclusion
    "{query: {utm_medium: {exclude: [email, sms]}}}": (
        [{"utm_medium": "push"}, {"utm_medium": "Email"}, {"utm_medium": ""}],
        [{"utm_medium": "sms"}, MISSING],
    ),
    "{query: {cart_value: {exclude: 500}}}": (
        [cart("501"), cart("many")],
        [cart("500.00"), cart(500), MISSING],
    ),
    "{days: {exclude: [Saturday, sunday]}}": (
        [{"DAY_OF_THE_WEEK": "Monday"}],
        [{"DAY_OF_THE_WEEK": "Sunday"}, MISSING],
    ),
    "{days: {include: Monday}}": (
        [{"DAY_OF_THE_WEEK": "Monday"}],
        [{"DAY_OF_THE_WEEK": "Sunday"}, MISSING],
    ),
    "{hours: {exclude: [0, 23]}}": (
        [{"TIME_OF_THE_DAY": "07"}],
        [{"TIME_OF_THE_DAY": "00"}, {"TIME_OF_THE_DAY": "23"}, MISSING],
    ),
    "{hours: 7}": ([{"TIME_OF_THE_DAY": "07"}], [{"TIME_OF_THE_DAY": "08"}, MISSING]),
    "{device: mobile}": (
        [{"USER_AGENT": "Mozilla/5.0 (iPhone) Mobile"}],
        [{"USER_AGENT": "Mozilla/5.0 (X11; Linux)"}, MISSING],
    ),
    "{device: {exclude: [mobile]}}": (
        [{"USER_AGENT": "Mozilla/5.0 (X11; Linux)"}],
        [{"USER_AGENT": "Mozilla/5.0 (iPhone) Mobile"}, MISSING],
    ),
    # blanks at the ends of names
    "{query: {' utm_medium ': email}}": ([{"utm_medium": "email"}], [MISSING]),
}


@each("rules", ROWS)
async def test_fetch_gets_what_its_attributes_meet(rules: str) -> None:
    api = Api(Sandbox(parse_workspace(FILE.format(rules=rules), environ={})))
    meeting, others = ROWS[rules]

    for session in meeting:
        assert await api.experiences(session), session
    for session in others:
        assert not await api.experiences(session), session


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9),
                   max_value=10**9))  # fmt: skip
def test_every_amount_equals_itself_however_it_is_written(amount: Any) -> None:
    number = float(amount)

    for written in (number, f"{amount:.2f}", f"{amount:.4f}", str(number)):
        if "e" not in str(written):
            assert parameter_compares(Operator.IS, written, (number,))
            assert not parameter_compares(Operator.IS_NOT, written, (number,))


@given(st.text() | st.floats() | st.integers() | st.lists(st.text()) | st.booleans()
       | st.none() | st.dictionaries(st.text(), st.text()))  # fmt: skip
def test_every_value_can_be_compared(value: Any) -> None:
    for operator in (Operator.AT_LEAST, Operator.BELOW, Operator.IS, Operator.IS_NOT):
        assert parameter_compares(operator, value, (5,)) in (True, False)
    for operator in (Operator.CONTAINS, Operator.STARTS_WITH, Operator.HAS_ANY):
        assert parameter_compares(operator, value, ("5",)) in (True, False)
