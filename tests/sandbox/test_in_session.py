"""In-session attributes: thresholds and exclusions, and numbers that travel as text."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.decisions.visitors import DAY, HOUR, USER_AGENT
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
        in_session: {%s}
        variations: [{payload: {Title: Hello}}]
"""

MISSING = object()

PHONE, DESKTOP = "Mozilla/5.0 (iPhone) Mobile", "Mozilla/5.0 (X11; Linux)"

# What an attribute must be, the values that meet it, and others.
QUERIES: list[tuple[str, list[Any], list[Any]]] = [
    # thresholds
    (
        "{at_least: 500}",
        ["500", 500, "500.0", "500.00", 500.0, " 501 ", "1111"],
        ["499.99", 499, "", "many", "1e9", None, True, [500], {}, MISSING],
    ),
    ("{above: 500}", ["500.01", 501], ["500", 500.0, MISSING]),
    (
        *("{below: 500}", ["499", -1, "-1.5", "+3"]),
        ["500", "0x10", "nan", "-inf", MISSING],
    ),
    ("{at_most: 150.5}", ["150.50", 150], ["150.51", 151]),
    ("{between: [100, 200]}", ["100", 200, "150.00"], ["99.9", "200.1", MISSING]),
    (
        *("{at_least: 100, below: 200, is_not: 150}", ["100", 199.5]),
        ["150.0", 150, "200", "99", MISSING],
    ),
    # equality
    ("500", [500, "500", "500.0", 500.0], ["501", "5e2", True, MISSING]),
    ("'500'", [500, "500", 500.0], ["500.0", "0500", 501, MISSING]),
    ("'1.10'", ["1.10"], ["1.1", 1.1]),
    ("'007'", ["007"], ["7", 7]),
    ("[1, 2.50, big]", ["1", "2.5", 2.5, "big"], ["3", "BIG", MISSING]),
    (
        *("12345678901234567", ["12345678901234567", 12345678901234567]),
        ["12345678901234568"],
    ),
    ("true", [True, "true", "True"], ["1", 1, False, "false", MISSING]),
    ("1", [1, "1"], [True]),
    ("{is: email, ignore_case: true}", ["EMail"], ["sms"]),
    ("{include: [email, sms]}", ["sms"], ["push", MISSING]),
    # text and presence
    ("{starts_with: 12}", ["123", 12], ["3"]),
    ("{contains: [tea, mug]}", ["a-mug"], ["a"]),
    ("{exists: true}", ["", 0], [MISSING]),
    ("{exists: false}", [MISSING], ["x"]),
    ("{after: 2026-01-31}", ["2026-02-01"], ["2026-01-31", "soon", MISSING]),
    # exclusion
    ("{exclude: [email, sms]}", ["push", "Email", ""], ["sms", MISSING]),
    ("{exclude: 500}", ["501", "many"], ["500.00", 500, MISSING]),
]

ROWS = [
    # blanks at the ends of names
    *((f"query: {{' v ': {one}}}", "v", *values) for one, *values in QUERIES),
    ("days: {exclude: [Saturday, sunday]}", DAY, ["Monday"], ["Sunday", MISSING]),
    ("days: {include: Monday}", DAY, ["Monday"], ["Sunday", MISSING]),
    ("hours: {exclude: [0, 23]}", HOUR, ["07"], ["00", "23", MISSING]),
    ("hours: 7", HOUR, ["07"], ["08", MISSING]),
    ("device: mobile", USER_AGENT, [PHONE], [DESKTOP, MISSING]),
    ("device: {exclude: [mobile]}", USER_AGENT, [DESKTOP], [PHONE, MISSING]),
]


@each(("rules", "name", "meeting", "others"), ROWS)
async def test_fetch_gets_what_its_attributes_meet(
    rules: str, name: str, meeting: list[Any], others: list[Any]
) -> None:
    api = Api(Sandbox(parse_workspace(FILE % rules, environ={})))

    for number, value in enumerate((*meeting, *others)):
        session = {} if value is MISSING else {name: value}
        meets = number < len(meeting)
        assert bool(await api.experiences(session)) is meets, value


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
