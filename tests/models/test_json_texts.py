"""JSON from outside: one limit of depth, whichever check meets it first."""

from __future__ import annotations

import json

import pytest

from moe_middleware.models.json_texts import MAX_DEPTH, JSONTextError, parse_json

FORMS = {
    "objects": (b'{"a":', b"1", b"}"),
    "lists": (b"[", b"1", b"]"),
    "both": (b'[{"a":', b"1", b"}]"),
    "with brackets in texts": (b'["]}[{\\"",', b"1", b"]"),
    "unfinished": (b'{"a":', b"", b""),
    "wrong in the middle": (b"[", b"nonsense", b"]"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 300, 1_100, 5_000, 200_000])
def test_too_deep_is_one_message(form: str, levels: int) -> None:
    opening, middle, closing = FORMS[form]

    with pytest.raises(JSONTextError) as caught:
        parse_json(opening * levels + middle + closing * levels)

    assert str(caught.value) == f"it nests deeper than {MAX_DEPTH} levels"


@pytest.mark.parametrize("form", ["objects", "lists", "with brackets in texts"])
def test_what_is_deep_enough_is_parsed(form: str) -> None:
    opening, middle, closing = FORMS[form]
    text = opening * MAX_DEPTH + middle + closing * MAX_DEPTH

    assert parse_json(text) == json.loads(text)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert parse_json("[" + "[]," * 5_000 + "[]]") == [[]] * 5_001


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1,\n "b": NaN}', "line 2, "),
        (b'"\xff"', "line 1, "),
        ("[\ud800]", "line 1, "),
        ("[" * 20, "line 1, "),
        ('{"a": [' + "[]," * 5_000, "line 1, "),
    ],
)
def test_what_is_no_json_is_reported_with_its_place(
    text: bytes | str, place: str
) -> None:
    with pytest.raises(JSONTextError, match=f"it is no JSON: .* at {place}"):
        parse_json(text)
