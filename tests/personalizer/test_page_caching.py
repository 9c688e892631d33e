from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.personalizer.page_caching import (
    merged_vary,
    personal_headers,
    private,
)

from ..rows import each


@each(
    ("given_", "kept"),
    [
        ("", "private"),
        ("no-store", "no-store"),
        ("No-Store, max-age=0", "No-Store, max-age=0"),
        ("private, max-age=60", "private, max-age=60"),
        ("public, max-age=60", "private, max-age=60"),
        ("s-maxage=600, max-age=60", "private, max-age=60"),
        ("no-cache", "private, no-cache"),
        ('private="Set-Cookie, X-A", max-age=60', "private, max-age=60"),
        ("public", "private"),
    ],
)
def test_cache_control_becomes_private_unless_stricter(given_: str, kept: str) -> None:
    assert private(given_) == kept


@given(st.text())
def test_any_cache_control_ends_private(text: str) -> None:
    names = [part.strip().lower() for part in private(text).split(",")]

    assert "private" in names or "no-store" in names


@pytest.mark.parametrize(
    ("given_", "merged"),
    [
        ((), "Cookie, X-Email"),
        (("Accept-Encoding",), "Accept-Encoding, Cookie, X-Email"),
        (("cookie, Accept", "x-email"), "cookie, Accept, x-email"),
        (("Accept, *",), "*"),
    ],
)
def test_vary_names_everything_once(given_: tuple[str, ...], merged: str) -> None:
    assert merged_vary(given_, "Cookie, X-Email") == merged


def test_other_headers_stay_in_order_and_repeated_ones_become_one() -> None:
    headers = [
        (b"Content-Type", b"text/html"),
        (b"Cache-Control", b"public"),
        (b"set-cookie", b"a=1"),
        (b"cache-control", b"max-age=5"),
        (b"set-cookie", b"b=2"),
        (b"Vary", b"Accept"),
    ]

    assert personal_headers(headers, "Cookie") == [
        (b"Content-Type", b"text/html"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"cache-control", b"private, max-age=5"),
        (b"vary", b"Accept, Cookie"),
    ]
