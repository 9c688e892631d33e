"""Finds the experience keys in a template's tags. Pure: no I/O, nothing is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jinja2 import Environment
from jinja2.lexer import Token

_AFTER_THE_KEY = {"as", "impression"}
# In Django's template language the text between these tags is literal.
_TEXT = {"comment", "verbatim"}


def tagged_keys(environment: Environment, source: str) -> list[tuple[str, int]]:
    """Return the keys of the tags ``experience``, each with its line.

    Keys that are computed while rendering are not found. The template is only split
    into tags, so that unknown tags and Django's language are no problem.

    Args:
        environment: The environment with the template's delimiters; it needs no
            extension.
        source: The template.

    Raises:
        jinja2.TemplateSyntaxError: It cannot be read; ``lineno`` is the line.
    """
    tokens = list(environment.lexer.tokenize(environment.preprocess(source)))
    found = []
    text_until = None
    for tag in _tags(tokens):
        name = tag[0].value
        if text_until is not None:
            text_until = None if name == text_until else text_until
        elif name in _TEXT:
            text_until = f"end{name}"
        elif name == "experience" and (key := _constant(tag[1:])) is not None:
            found.append((key, tag[0].lineno))
    return found


def _tags(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Yield the contents of each tag, its name first."""
    begin = 0
    for index, token in enumerate(tokens):
        if token.type == "block_begin":
            begin = index + 1
        elif token.type == "block_end" and index > begin:
            yield tokens[begin:index]


def _constant(rest: Sequence[Token]) -> str | None:
    """Return the key if it is literal text, else None."""
    parts = []
    for token in rest:
        if token.type != "string":
            if token.type != "comma" and token.value not in _AFTER_THE_KEY:
                return None
            break
        parts.append(token.value)
    return "".join(parts) if parts else None
