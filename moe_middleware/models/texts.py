"""Bytes of a request as text. Pure."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]
"""HTTP headers as ASGI has them."""


def decoded(raw: bytes) -> str:
    """Return bytes as text: UTF-8, else Latin-1.

    A character that stands for all bytes which cannot be read would make one id of
    many.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
