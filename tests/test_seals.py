from __future__ import annotations

import os
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.seals import MAX_TOKEN, Seal

NONCE = bytes(range(16))


@given(st.binary(max_size=500), st.binary(min_size=16, max_size=16))
def test_what_is_sealed_opens_again(message: bytes, nonce: bytes) -> None:
    seal = Seal(["secret"], "click")

    assert seal.open(seal.close(message, nonce)) == (message, nonce)


def test_a_token_shows_nothing_of_its_message() -> None:
    token = Seal(["secret"], "click").close(b"alice@example.com" * 9, NONCE)

    sealed = token.partition(".")[0]
    assert b"alice" not in urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))


def test_two_messages_of_one_text_look_different() -> None:
    seal = Seal(["secret"], "click")

    assert seal.close(b"same", os.urandom(16)) != seal.close(b"same", os.urandom(16))


@pytest.mark.parametrize("at", range(0, 80, 7))
def test_a_token_that_was_changed_does_not_open(at: int) -> None:
    seal = Seal(["secret"], "click")
    token = seal.close(b"to the shop", NONCE)
    other = "A" if token[at] != "A" else "B"

    assert seal.open(token[:at] + other + token[at + 1 :]) is None
    assert seal.open(token[:at]) is None


def test_another_secret_or_purpose_does_not_open() -> None:
    token = Seal(["secret"], "click").close(b"to the shop", NONCE)

    assert Seal(["other"], "click").open(token) is None
    assert Seal(["secret"], "preview").open(token) is None


def test_a_secret_that_was_replaced_still_opens() -> None:
    old = Seal(["old"], "click").close(b"to the shop", NONCE)
    both = Seal(["new", "old"], "click")

    assert both.open(old) == (b"to the shop", NONCE)
    assert Seal(["new"], "click").open(both.close(b"x", NONCE)) == (b"x", NONCE)


@pytest.mark.parametrize("token", ["", ".", "a.b", "é.é", "x" * (MAX_TOKEN + 1), "=.="])
def test_garbage_does_not_open(token: str) -> None:
    assert Seal(["secret"], "click").open(token) is None
