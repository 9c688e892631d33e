from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware import Action
from moe_middleware.browser.marks import (
    MAX_SIGNALS,
    Mark,
    MarkTokens,
    Signal,
    read_signals,
)
from moe_middleware.browser.tokens import MAX_TOKEN

from ..makers import CONTEXT
from ..rows import each

NOW = 1_725_258_666.0
SIGHT = "00000000-0000-4000-8000-000000000009"


def beacons() -> MarkTokens:
    return MarkTokens(["a secret of tests"], max_age=60, clock=lambda: NOW)


def made(some: MarkTokens, **fields: Any) -> str:
    given = {"b_id": "Shop Now", "sight": SIGHT, "visitor_id": "alice", **fields}
    return some.make(context=orjson.dumps(CONTEXT), **given)


def mark(**fields: Any) -> Mark:
    some = beacons()
    read = some.read(made(some, **fields))
    assert read is not None
    return read


def test_a_token_is_short_and_says_all_that_its_events_need() -> None:
    read = mark()

    assert len(made(beacons())) < 300
    assert (read.b_id, read.sight) == ("Shop Now", SIGHT)
    assert read.experience_context == CONTEXT
    assert read.token.expires_at == NOW + 60


def test_a_click_on_another_element_has_another_uuid() -> None:
    some = beacons()
    marks = [some.read(made(some)) for _ in range(2)]

    uuids = {Signal(Action.CLICK, "t", 1).uuid(one) for one in marks if one}

    assert len(uuids) == 2


def test_a_mark_counts_only_what_it_was_made_for() -> None:
    click, seen = Signal(Action.CLICK, "t", 1), Signal(Action.IMPRESSION, "t")

    assert seen.uuid(mark()) == SIGHT
    assert seen.uuid(mark(sight=None)) is None
    assert click.uuid(mark(b_id=None)) is None


def test_a_beacon_says_one_thing_a_line() -> None:
    assert read_signals(b"c a.b-_9 1725258666123\ns x.y") == [
        Signal(Action.CLICK, "a.b-_9", 1725258666123),
        Signal(Action.IMPRESSION, "x.y"),
    ]


@each(
    "body",
    [
        *(b"", b"\n", b'[["s","x.y"]]', b'{"token": "t"}', b"c=token", b"x token"),
        *(b"C token 1", b"c token", b"c token -1", b"c token 1234567890123456"),
        *("c token ٣".encode(), b"c  token 1", b"c\ttoken 1", b"c token 1\n"),
        *(b"c token 1\r\nc token 2", b"c token 1\r\nset-cookie: a=b\r\n\r\n"),
        *(b"c token 1\0", "c token 1".encode("utf-16"), b"\xef\xbb\xbfc token 1"),
        *(b"c token 1\nx token", b"s token 1", b"s token\r\nset-cookie: a=b"),
        *(b"s token\n", b"s \xff\xfe", "s tökén".encode()),
        b"s " + b"x" * (MAX_TOKEN + 1),
        b"\n".join([b"s x.y"] * (MAX_SIGNALS + 1)),
    ],
)
def test_what_is_no_beacon_is_none(body: bytes) -> None:
    assert read_signals(body) is None


@given(st.binary(max_size=200))
def test_garbage_never_raises(body: bytes) -> None:
    for prefix in (b"", b"c ", b"s "):
        for signal in read_signals(prefix + body) or ():
            assert beacons().read(signal.token) is None
