"""Words of riddles, and sentences that hide their subject: in prose and in names."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

WORDS = re.compile(r"\b(?:nobody|whoever|whomever|as ever|told|said)\b", re.I)
"""Words of riddles: a visitor, a request or a person is meant, and should be named."""

HIDDEN = re.compile(r"(?:^|[.!?] )What (?!to\b)[^.!?]*(?:[.]|$)")
"""``What is not stored is lost.``: the sentence's subject is hidden."""


def riddles(text: str) -> list[str]:
    """Return the riddles in sentences; each line of the text is a block."""
    return [
        found[0].strip()
        for line in text.splitlines()
        for pattern in (WORDS, HIDDEN)
        for found in pattern.finditer(line.strip())
    ]


def riddles_in_code(source: str) -> list[str]:
    """Return the riddles in a module's docstrings, comments and names."""
    if "What " not in source:
        return words_in_code(source)
    return [*riddles("\n".join(_prose(source))), *WORDS.findall(_names(source))]


def words_in_code(source: str) -> list[str]:
    """Return only the words of riddles."""
    # Few modules have one even in their texts, and a tokenizer is slow.
    if not WORDS.search(source.replace("_", " ")):
        return []
    return WORDS.findall("\n".join((*_prose(source), _names(source))))


def _prose(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield " ".join(text.split())
    for token in _tokens(source):
        if token.type == tokenize.COMMENT:
            yield token.string.strip("# -")


def _names(source: str) -> str:
    names = {one.string for one in _tokens(source) if one.type == tokenize.NAME}
    return "\n".join(sorted(names)).replace("_", " ")


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(source).readline)
