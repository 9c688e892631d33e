"""Parses JSON from outside, and refuses documents that could not be encoded again."""

from __future__ import annotations

import re
from typing import Any

import orjson

MAX_DEPTH = 200
"""The deepest nesting of a document. orjson decodes 1,024 levels and encodes 254, a few
of which our own JSON puts around the document."""


class JSONTextError(ValueError):
    """The text is no JSON or nests too deep; the message has the place or the depth."""


def parse_json(text: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse a JSON text.

    Args:
        text: JSON; bytes are UTF-8.
        max_depth: The most levels of lists and objects within each other.

    Raises:
        JSONTextError: It is no JSON, or nests deeper.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # orjson refuses what is deeper still as if it were no JSON.
        if _opens_deeper(content, max_depth):
            raise _too_deep(max_depth) from None
        place = f"line {error.lineno}, column {error.colno}"
        raise JSONTextError(f"it is no JSON: {error.msg} at {place}") from None
    # Counting brackets is cheap, and most documents have too few of them.
    if may_be_deeper(content, max_depth) and is_deeper(document, max_depth):
        raise _too_deep(max_depth)
    return document


def may_be_deeper(content: bytes, levels: int) -> bool:
    """Whether a text has enough brackets to nest deeper than so many levels."""
    return content.count(b"{") + content.count(b"[") > levels


def is_deeper(document: object, levels: int) -> bool:
    """Whether lists and objects nest deeper than so many levels."""
    layer = [document]
    for _ in range(levels + 1):
        layer = [
            child
            for parent in layer
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not layer:
            return False
    return True


def _opens_deeper(content: bytes, levels: int) -> bool:
    """Whether the brackets of a text that the parser refused nest deeper."""
    depth = 0
    for found in _BRACKET.finditer(content if may_be_deeper(content, levels) else b""):
        depth += (found["opens"] is not None) - (found["closes"] is not None)
        if depth > levels:
            return True
    return False


_BRACKET = re.compile(
    rb'"(?:\\.|[^"\\])*"|(?P<opens>[\[{])|(?P<closes>[]}])', re.DOTALL
)


def _too_deep(levels: int) -> JSONTextError:
    return JSONTextError(f"it nests deeper than {levels} levels")
