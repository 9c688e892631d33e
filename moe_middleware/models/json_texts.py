"""JSON from outside: parsed, and refused where we could not write it out again."""

from __future__ import annotations

import re
from typing import Any

import orjson

MAX_DEPTH = 200
"""How deep a document may nest. orjson reads 1,024 levels and writes 254, and what we
write puts a few of its own around them."""


class JSONTextError(ValueError):
    """The text is no JSON, or nests too deep; the message says where, or how deep."""


def parse_json(text: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the document that a text holds.

    Args:
        text: JSON; bytes are UTF-8.
        max_depth: How many lists and objects may stand in one another.

    Raises:
        JSONTextError: It holds none, or one that nests deeper.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if _opens_deeper(content, max_depth):
            raise _too_deep(max_depth) from None
        place = f"line {error.lineno}, column {error.colno}"
        raise JSONTextError(f"it is no JSON: {error.msg} at {place}") from None
    if may_be_deeper(content, max_depth) and is_deeper(document, max_depth):
        raise _too_deep(max_depth)
    return document


def may_be_deeper(content: bytes, levels: int) -> bool:
    """Whether a text has enough brackets to nest deeper than this many levels."""
    return content.count(b"{") + content.count(b"[") > levels


def is_deeper(document: object, levels: int) -> bool:
    """Whether lists and objects nest deeper than this many levels."""
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
    """Whether brackets nest deeper in a text that the parser gave up."""
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
