from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.models.usable_ids import usable_id
from moe_middleware.visitors.ids import minted_id, visitor_cookie

from ..rows import each

MINTED = "0b6e1a52-7c53-4f4e-9d0e-6b7a1c2d3e4f"

NO_IDS = [
    *("", "  ", "null", "NULL", "None", "guest", "Unknown", "0", "1", "-1", "2"),
    *("true", "FALSE", "na", "N/A", "undefined", "user_id", "customer_id", "uid"),
]


@each("text", NO_IDS)
def test_a_placeholder_is_no_id(text: str) -> None:
    assert usable_id(text) is None


@pytest.mark.parametrize("text", ["alice", "a@b.example", "10", "guest-7", "Zoë"])
def test_a_real_id_is_kept(text: str) -> None:
    assert usable_id(f" {text} ") == text


@pytest.mark.parametrize("text", [None, "x" * 257, "a\r\nSet-Cookie: b", "a\x00b"])
def test_what_cannot_be_an_id_is_refused(text: str | None) -> None:
    assert usable_id(text) is None


@given(st.lists(st.sampled_from("aàÄÅ\u0160ß漢🙂"), min_size=1, max_size=4))
def test_letters_whose_bytes_are_read_as_latin_are_an_id_of_their_own(
    letters: list[str],
) -> None:
    """Frameworks read UTF-8 in cookies so, and some bytes are blanks or controls."""
    text = "".join(letters).encode().decode("latin-1")

    assert usable_id(text) == text


@pytest.mark.parametrize(
    "text", ["a\x7f", "a\u200bb", "a\u2028b", "a\u202eb", "\ud800"]
)
def test_what_only_looks_like_another_id_is_refused(text: str) -> None:
    assert usable_id(text) is None


@given(st.uuids(version=4))
def test_a_minted_id_is_known_again(minted: uuid.UUID) -> None:
    assert minted_id(str(minted)) == str(minted)


@each(
    "cookie",
    [
        *(None, "", "alice", "' or 1=1 --", "../../alice", "%61lice", f"{MINTED}x"),
        *(MINTED.upper(), MINTED[:-1], f"{{{MINTED}}}", f"urn:uuid:{MINTED}"),
        *(MINTED.replace("-", ""), MINTED.replace("e", "\u0435")),
    ],
)
def test_a_cookie_that_we_did_not_write_is_ignored(cookie: str | None) -> None:
    assert minted_id(cookie) is None


def test_our_cookie_is_first_party_and_out_of_scripts_reach() -> None:
    plain = visitor_cookie("moe_visitor", "v1", max_age=60, secure=False)
    secure = visitor_cookie("moe_visitor", "v1", max_age=60, secure=True)

    assert plain == "moe_visitor=v1; Max-Age=60; Path=/; HttpOnly; SameSite=Lax"
    assert secure == f"{plain}; Secure"
