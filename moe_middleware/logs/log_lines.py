"""What others wrote, as it may stand in a log line. Pure: texts in, texts out."""

from __future__ import annotations

LONGEST = 200
"""Characters; keys and the ids of elements are shorter."""


def one_line(text: object) -> str:
    """Return a text as it is, or escaped where it would not stay within its line."""
    said = str(text)[:LONGEST]
    return said if said.isprintable() else ascii(said)
