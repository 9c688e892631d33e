"""Finds keys and payload names in a template. Pure: no I/O, nothing is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from jinja2 import Environment
from jinja2.lexer import Token

from ..models.experience import Experience

_AFTER_THE_KEY = {"as", "impression"}
_TEXT = re.compile(
    r"(?P<jinja>\{#.*?#\}|\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\})"
    r"|\{%\s*comment\b.*?%\}.*?\{%\s*endcomment\s*%\}"
    r"|\{%\s*verbatim\b\s*(?P<name>.*?)\s*%\}.*?\{%\s*endverbatim\s*(?P=name)\s*%\}",
    re.DOTALL,
)
"""Django's blocks of literal text, outside of what Jinja takes for text as well."""


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
    found = []
    for is_tag, part in _parts(_tokens(environment, source)):
        name = is_tag and part[0].value
        if name == "experience" and (key := _constant(part[1:])) is not None:
            found.append((key, part[0].lineno))
    return found


def read_names(environment: Environment, source: str) -> list[tuple[str, str, int]]:
    """Return the payload names that the bodies of tags read: key, name and line.

    As in ``hero.Title``, ``hero["Title"]``, ``hero.get("Title")`` and Django's
    ``hero|value:"Title"``. Under another name (``{% set %}``, ``{% with %}``, a loop)
    and in included templates they are not found.

    Args:
        environment: As for ``tagged_keys``.
        source: The template.

    Raises:
        jinja2.TemplateSyntaxError: As for ``tagged_keys``.
    """
    found = []
    # The names of the open tags, the innermost last, with their keys.
    open_tags: list[tuple[str, str | None]] = []
    for is_tag, part in _parts(_tokens(environment, source)):
        match is_tag and part[0].value:
            case "experience":
                open_tags.append((_alias(part), _constant(part[1:])))
            case "endexperience":
                del open_tags[-1:]
        keys = dict(open_tags)
        for index, token in enumerate(part):
            key = keys.get(token.value) if token.type == "name" else None
            if key is not None and (not index or part[index - 1].type != "dot"):
                name = _name_read(part[index + 1 : index + 5])
                if name is not None:
                    found.append((key, name, token.lineno))
    return found


_OWN = frozenset(name for name in dir(Experience) if not name.startswith("_"))
"""Attributes of an experience that are no payload values."""


def _alias(tag: Sequence[Token]) -> str:
    for word, name in pairwise(tag):
        if word.value == "as" and word.type == "name":
            return str(name.value)
    return "experience"


def _name_read(after: Sequence[Token]) -> str | None:
    """Return the payload name in the tokens after an experience's name, if any."""
    kinds = [token.type for token in after]
    values = [str(token.value) for token in after]
    if kinds[:2] == ["dot", "name"]:
        if values[1] == "get" and kinds[2:] == ["lparen", "string"]:
            return values[3]
        return None if values[1] in _OWN else values[1]
    if kinds[:3] == ["lbracket", "string", "rbracket"]:
        return values[1]
    if kinds[:4] == ["pipe", "name", "colon", "string"] and values[1] == "value":
        return values[3]
    return None


def _tokens(environment: Environment, source: str) -> list[Token]:
    """Return a template's tokens, without those of Django's literal text."""
    text = environment.preprocess(source)
    if environment.block_start_string == "{%":
        # It may be no Jinja at all, as in {% comment %} it's {% endcomment %}.
        text = _TEXT.sub(_blank, text)
    return list(environment.lexer.tokenize(text))


def _blank(found: re.Match[str]) -> str:
    """Return the line breaks of a block of text, so that line numbers stay right."""
    return found[0] if found["jinja"] else "\n" * found[0].count("\n")


def _parts(tokens: Sequence[Token]) -> Iterator[tuple[bool, Sequence[Token]]]:
    """Yield the contents of each tag (True) and of each ``{{ ... }}`` (False)."""
    begin = 0
    for index, token in enumerate(tokens):
        if token.type in ("block_begin", "variable_begin"):
            begin = index + 1
        elif token.type in ("block_end", "variable_end") and index > begin:
            yield token.type == "block_end", tokens[begin:index]


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
