from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moe_middleware.browser.tokens import (
    MAX_MESSAGE,
    MAX_TOKEN,
    Tokens,
    TokenTooLongError,
    VisitorTokens,
    pack,
)

from ..makers import CONTEXT

NOW = 1_800_000_000.0
X = pack(b'["x"]')
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def tokens(*secrets: str, purpose: str = "click", **options: Any) -> Tokens:
    return Tokens(secrets or ("secret",), purpose, **{"fields": 1, **options})


def visitor_tokens(
    *secrets: str, workspace_id: str = "tea", max_age: float = 60
) -> VisitorTokens:
    return VisitorTokens(
        secrets or ("secret",),
        "click",
        fields=1,
        workspace_id=workspace_id,
        max_age=max_age,
        clock=lambda: NOW,
    )


@given(JSON, st.binary(min_size=4, max_size=4))
def test_a_message_is_read_as_it_was_made(value: Any, head: bytes) -> None:
    some = tokens(head_size=4)

    token = some.sign(pack(orjson.dumps([value])), head)

    assert some.read(token) == (head, [value])
    assert re.fullmatch(r"[\w-]+\.[\w-]{43}", token, re.ASCII)


def test_a_usual_message_takes_a_third_of_its_text() -> None:
    message = ["/shop", "Shop Now", CONTEXT]

    token = tokens(fields=3).make(message)

    assert (len(token) - 44) * 0.75 * 3 < len(orjson.dumps(message)) + 30


@given(st.text())
@example(".")
@example("a.b")
@example("=.=")
@example("\ud800.x")
@example("x" * (MAX_TOKEN + 1))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert tokens().read(text) is None


def test_another_secret_purpose_or_shape_is_none() -> None:
    token = tokens().make(["to the shop"])

    assert tokens("other").read(token) is None
    assert tokens(purpose="preview").read(token) is None
    assert tokens(fields=2).read(token) is None
    assert tokens(head_size=4).read(token) is None


def test_a_secret_that_was_replaced_is_still_read() -> None:
    old = tokens("old").make(["x"])
    both = tokens("new", "old")

    assert both.read(old) == (b"", ["x"])
    assert tokens("new").read(both.make(["y"])) == (b"", ["y"])
    assert tokens("new").read(old) is None


def test_what_would_not_be_read_is_not_made() -> None:
    noise = "".join(map(chr, range(0x4E00, 0x4E00 + 3_000)))

    for text in (noise, "x" * MAX_MESSAGE):
        with pytest.raises(TokenTooLongError):
            tokens().make([text])
    large = "x" * (MAX_MESSAGE - 10)
    assert tokens().read(tokens().make([large])) == (b"", [large])


@given(st.text(), st.text())
def test_a_visitors_token_is_that_visitors_alone(one: str, other: str) -> None:
    some = visitor_tokens()
    read = some.read(some.sign(X, one))

    assert read is not None
    assert (read.message, read.expires_at) == (["x"], NOW + 60)
    assert some.is_of(read, one)
    assert some.is_of(read, other) == (one == other)


def test_a_rotated_secret_still_knows_the_visitor_and_another_workspace_does_not() -> (
    None
):
    token = visitor_tokens("old").sign(X, "alice")

    for some, known in (
        (visitor_tokens("new", "old"), True),
        (visitor_tokens("old", workspace_id="coffee"), False),
    ):
        read = some.read(token)
        assert read is not None
        assert some.is_of(read, "alice") is known


def test_a_token_may_count_for_ages() -> None:
    some = visitor_tokens(max_age=1e12)
    read = some.read(some.sign(X, "alice"))

    assert read is not None
    assert read.expires_at > NOW + 60 * 365 * 86_400
