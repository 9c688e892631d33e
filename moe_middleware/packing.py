"""Makes what a token carries small, and reads it again. Pure."""

from __future__ import annotations

import zlib
from typing import Any

import orjson

# What nearly every token says, and so need not say: an experience_context's own words.
# The likeliest stands at the end. Another text would leave older tokens unread.
_EXPECTED = (
    b'"https://www.","/products/","Add to Cart","Shop Now",'
    b'{"cid":"_F_T_WP_AB_1_P_0_AU_","experience":"","moe_locale_id":"0","moe_variation_id":"1","audience_name":'
    b'"All Users","audience_id":"","type":"Web Personalization","experience_type":'
    b'"API based Experience"},"'
)

# Raw deflate with 4 KB to look back: a larger window is larger to copy.
_WINDOW = -12
_PACKER = zlib.compressobj(
    6, zlib.DEFLATED, _WINDOW, 4, zlib.Z_DEFAULT_STRATEGY, _EXPECTED
)


def pack(said: Any) -> bytes:
    """Return JSON values as few bytes.

    Raises:
        TypeError: They are no JSON values.
    """
    packer = _PACKER.copy()
    return packer.compress(orjson.dumps(said)) + packer.flush()


def unpack(packed: bytes) -> Any:
    """Return what was packed; only for what is signed: nothing bounds its size.

    Raises:
        ValueError: Nothing of ours was packed so.
    """
    try:
        return orjson.loads(zlib.decompressobj(_WINDOW, _EXPECTED).decompress(packed))
    except zlib.error as error:
        raise ValueError("it cannot be unpacked") from error
