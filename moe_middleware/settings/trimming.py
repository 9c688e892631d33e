"""Removes what copying, shells and YAML add to the ends of a text. Pure: no I/O."""

from __future__ import annotations

import re

ENDS = "\ufeff\u200b\u200e\u2060 \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029"
"""A byte order mark, characters without a width, blanks and line breaks."""

_UNFILLED = re.compile(
    r"\$\{.*|\$\(.*\)|\$[A-Za-z_]\w*|%[A-Za-z_]\w*%|\{\{.*\}\}|<[^<>]*>|!ENV .*",
    re.DOTALL,
)
_QUOTES = (
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("\u201c", "\u201d"),
    ("\u2018", "\u2019"),
)


def trimmed(text: str) -> str:
    """Return a text without blanks and invisible characters at its ends."""
    inner = text.strip(ENDS)
    # Unchanged, it is the same object, which may know how the file writes it.
    return text if len(inner) == len(text) else inner


def is_unfilled(text: str) -> bool:
    """Whether a text is a placeholder that was not filled in: ``$KEY``, ``<key>``."""
    return _UNFILLED.fullmatch(text) is not None


def is_quoted(text: str) -> bool:
    """Whether a text has quotes around it, as some env files leave them."""
    return len(text) > 1 and (text[0], text[-1]) in _QUOTES
