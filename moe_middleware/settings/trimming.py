"""What copying, shells and YAML leave at the ends of a text. Pure: texts in and out."""

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
    """Return a text without what is not its own at its ends."""
    inner = text.strip(ENDS)
    # The same object where nothing is to be taken away: it may know how it was written.
    return text if len(inner) == len(text) else inner


def is_unfilled(text: str) -> bool:
    """Whether a text is a reference that was not filled in: ``$KEY``, ``<key>``."""
    return _UNFILLED.fullmatch(text) is not None


def is_quoted(text: str) -> bool:
    """Whether a text stands in quotes, as env files keep them."""
    return len(text) > 1 and (text[0], text[-1]) in _QUOTES
