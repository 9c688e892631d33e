from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.packing import pack, unpack

from .makers import CONTEXT

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_was_packed_is_unpacked(said: Any) -> None:
    assert unpack(pack(said)) == said


def test_a_link_for_a_usual_experience_is_a_third_of_its_text() -> None:
    said = ["/shop", "Shop Now", CONTEXT, "a1b2c3d4e5f60708", 1_800_000_000]

    assert len(pack(said)) * 3 < len(orjson.dumps(said)) + 30


@given(st.binary())
def test_what_is_none_of_ours_is_a_value_error(packed: bytes) -> None:
    try:
        unpack(packed)
    except ValueError:
        return


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_what_was_cut_is_a_value_error(cut: int) -> None:
    with pytest.raises(ValueError):
        unpack(pack(["a", CONTEXT])[:cut])
