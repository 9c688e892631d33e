from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.network.published_limits import LONGEST_WAIT, Published, limits_of

from ...rows import each

NOW = 1_700_000_030.0
DATE = "Tue, 14 Nov 2023 22:14:20 GMT"
"""Of an API whose clock is 30 seconds ahead of ours: 1_700_000_060."""


def headers(limit: str, remaining: str, reset: str, **more: str) -> dict[str, str]:
    return {
        "x-ratelimit-limit": limit,
        "x-ratelimit-remaining": remaining,
        "x-ratelimit-reset": reset,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


def published(
    limit: int | None, remaining: int | None, resets_in: float | None
) -> Published:
    return Published(limit=limit, remaining=remaining, resets_in=resets_in)


@each(
    ("received", "expected"),
    [
        (headers("10000", "9000", "1700000080"), published(10_000, 9_000, 50)),
        (headers(" 10000 ", "9000", "1700000080"), published(10_000, 9_000, 50)),
        (headers("10000", "0", "1700000080", date=DATE), published(10_000, 0, 20)),
        (headers("10000", "0", "1600000000"), published(10_000, 0, 0)),
        (headers("10000", "0", "45"), published(10_000, 0, 45)),
        (headers("10", "5", "1700000080", date="soon"), published(10, 5, 50)),
        (headers("ten", "-1", "1e9"), None),
        (headers("10, 10;w=1", "5", "1"), published(None, 5, 1)),
        (headers("10000, 10000;w=60", "5, 5", "1"), published(10_000, 5, 1)),
        (headers("10", "5", "30.5"), published(10, 5, 30.5)),
        (headers("10", "5", "1700000050000"), published(10, 5, 20)),
        (headers("10", "5", "1700000050000000"), published(10, 5, 20)),
        (headers("10", "5", "1700000080000", date=DATE), published(10, 5, 20)),
        (headers("10", "5", "Tue, 14 Nov 2023 22:14:30 GMT"), published(10, 5, 40)),
        (headers("10", "5", "2023-11-14T22:14:30Z"), published(10, 5, 40)),
        (headers("10", "5", "nan"), published(10, 5, None)),
        (headers("10", "5", "inf"), published(10, 5, None)),
        (headers("10", "5", "-30"), published(10, 5, None)),
        (headers("10", "5", "86400"), published(10, 5, 60)),
        (headers("10", "5", "1700009999"), published(10, 5, 60)),
        (headers("9" * 40, "\u0665", "0x10"), None),
        (headers("", "5.0", ""), None),
        ({"x-ratelimit-limit": "100"}, published(100, None, None)),
        ({"content-type": "application/json"}, None),
    ],
)
def test_plain_numbers_are_read_and_the_rest_is_as_if_unsaid(
    received: dict[str, str], expected: Published | None
) -> None:
    assert limits_of(received, NOW) == expected


@each(
    ("received", "resets_in"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT"}, 10),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:25 GMT", "date": DATE}, 5),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1700000040"}, 10),
        ({"retry-after": "86400"}, 60),
        ({"retry-after": "9" * 19}, 60),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Tue, 14 Nov 2003 22:14:00 GMT"}, 0),
        ({"retry-after": "later"}, None),
        ({}, None),
        (headers("10", "3", "1700000080"), 50),
        (headers("10", "3", "1700000080", retry_after="7"), 7),
    ],
)
def test_after_a_refusal_nothing_remains_and_retry_after_comes_first(
    received: dict[str, str], resets_in: float | None
) -> None:
    found = limits_of(received, NOW, refused=True)

    assert found is not None
    assert (found.remaining, found.resets_in) == (0, resets_in)


texts = st.one_of(
    st.text(max_size=40),
    st.text(string.digits + "-.,;+eE:", max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
)


@given(
    received=st.dictionaries(
        st.sampled_from(
            [
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
                "x-ratelimit-reset",
                "retry-after",
                "date",
            ]
        ),
        texts,
    ),
    refused=st.booleans(),
)
def test_no_header_makes_it_raise(received: dict[str, str], refused: bool) -> None:
    found = limits_of(received, NOW, refused=refused)

    if found is not None:
        assert found.resets_in is None or 0 <= found.resets_in <= LONGEST_WAIT
