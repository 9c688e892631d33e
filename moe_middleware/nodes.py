"""YAML text as nodes that know their lines. Pure: no I/O."""

from __future__ import annotations

import re

import yaml

MAX_DEPTH = 50
MAX_NODES = 100_000

PLAIN = "!plain"
"""The tag of a scalar without quotes: what it means is decided later."""


class TextError(Exception):
    """The text is no YAML document that we take; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str) -> yaml.Node:
    """Return the root node of a text's one document.

    Raises:
        TextError: It is not one, or it is too deep or too large.
    """
    try:
        text.encode()
        _check_size(text)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise TextError("is not UTF-8 text: save it as UTF-8", line) from None
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position]
        line = before.count(b"\n") + 1
        raise TextError("holds a control character: remove it", line) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    if root is None:
        raise TextError("is empty: it needs a mapping, lines of 'key: value'", 1)
    return root


def line_of(where: yaml.Node | yaml.Event) -> int:
    """Return the line that a node or an event begins at, counted from 1."""
    mark = where.start_mark
    return mark.line + 1 if mark is not None else 1


class _Loader(yaml.CSafeLoader):
    """Leaves the meaning of scalars to us, and knows quoted ones from plain ones."""

    yaml_implicit_resolvers = {None: [(PLAIN, re.compile(""))]}  # noqa: RUF012


def _check_size(text: str) -> None:
    """Refuse what would be too deep or too large to compose.

    Composing recurses in C, without Python's guard: 200,000 brackets end the process.
    """
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise TextError(f"nests more than {MAX_DEPTH} levels deep", line_of(event))
        if count > 2 * MAX_NODES:
            raise TextError(f"holds more than {MAX_NODES} values", line_of(event))


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> TextError:
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    lines = text.splitlines()
    line = lines[number] if number < len(lines) else ""
    said = error.problem or "it cannot be parsed"
    if "expected a single document" in (error.context or ""):
        said = "a second document begins here: keep one"
    elif "undefined alias" in said:
        said = "an alias (*name) whose anchor (&name) is not above it"
    elif line[: len(line) - len(line.lstrip())].count("\t"):
        said = "a tab indents this line: indent with spaces"
    elif "${" in line and "expected ','" in said:
        said = f"{said}: put ${{...}} in quotes within [ ] and {{ }}"
    return TextError(f"is not YAML: {said}", number + 1)
