"""Escapes foreign text for log lines. Pure: no I/O."""

from __future__ import annotations

LONGEST = 200
"""The longest text; keys and ids of elements are shorter."""


def one_line(text: object) -> str:
    """Return a text unchanged, or escaped if it would not stay on one line."""
    shown = str(text)[:LONGEST]
    return shown if shown.isprintable() else ascii(shown)
