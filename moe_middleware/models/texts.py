"""Decodes bytes of a request. Pure."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]
"""HTTP headers as ASGI has them."""


def decoded(raw: bytes) -> str:
    """Return bytes as text: UTF-8, else Latin-1.

    A replacement character for all undecodable bytes would make many ids equal.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
