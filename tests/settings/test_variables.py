"""References to variables in a settings file, in all forms that Compose knows."""

from __future__ import annotations

import pytest

from moe_middleware.settings.variables import VariableError, Variables

from ..rows import each

ENVIRON = {"SET": "one", "OTHER": "two", "EMPTY": ""}
DEEP = 30


FORMS = {
    "${SET}": "one",
    "a${SET}b${OTHER}c": "aonebtwoc",
    "${SET-x}": "one",
    "${NONE-x}": "x",
    "${NONE:-x}": "x",
    "a${EMPTY-x}": "a",
    "${EMPTY:-x}": "x",
    "${SET+there}": "there",
    "a${NONE+there}": "a",
    "${EMPTY+there}": "there",
    "a${EMPTY:+there}": "a",
    "${SET?no message}": "one",
    "${NONE:-${SET}}": "one",
    "${NONE:-${NOR:-${OTHER}}}": "two",
    "${NONE:-a${SET}b}": "aoneb",
    "${SET:-${NOT_READ}}": "one",
    "${SET:+<${OTHER}>}": "<two>",
    "${NONE:-$${SET}}": "${SET}",
    "$${SET}": "${SET}",
}
WRONG = {
    "${NONE}": "the variable NONE is not set",
    "${NONE?ask the team}": "the variable NONE is not set: ask the team",
    "${EMPTY:?}": "the variable EMPTY is not set: set it or EMPTY_FILE",
    "${NONE:-${NOR}}": "the variable NOR is not set",
    "${SET": "has no '}' at its end",
    "${NONE:-x": "has no '}' at its end",
    "${SET!}": "is followed by '!'",
    "${SET:=x}": "is no form that we know",
    "${1}": "starts no variable",
    "${NONE:-" * DEEP + "}" * DEEP: "nests more than 20 variables",
}


def test_every_form_gives_its_value() -> None:
    variables = Variables(ENVIRON)

    assert {text: variables.fill_in(text) for text in FORMS} == FORMS


@each("text", WRONG)
def test_what_is_no_form_says_why(text: str) -> None:
    with pytest.raises(VariableError) as caught:
        Variables(ENVIRON).fill_in(text)

    assert WRONG[text] in str(caught.value)
