"""Parses YAML 1.2 text into nodes that know their lines. Pure: no I/O."""

from __future__ import annotations

import re

import yaml

MAX_DEPTH = 50
MAX_NODES = 100_000

TOO_DEEP = f"nests more than {MAX_DEPTH} levels deep"
SECOND_DOCUMENT = "is not YAML: a second document begins here: keep one"
NO_ANCHOR = "is not YAML: an alias (*name) whose anchor (&name) is not above it"

PLAIN = "!plain"
"""The tag of a scalar without quotes; ``scalars`` decides on its type."""


class TextError(Exception):
    """The text is no usable YAML document; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str) -> yaml.Node:
    """Return the root node of a text with one YAML document.

    Raises:
        TextError: It is no YAML, or too deep, or too large.
    """
    try:
        text.encode()  # parsers differ on lone surrogates
        _check_events(text)
        loader = _Loader(text)
        try:
            root: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise TextError("is not UTF-8 text: save it as UTF-8", line) from None
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position]
        line = before.count(b"\n") + 1
        raise TextError("holds a control character: remove it", line) from None
    except yaml.YAMLError as error:
        raise _syntax_error(error, text) from None
    except (RecursionError, MemoryError):
        raise TextError(TOO_DEEP, 1) from None
    if root is None:
        raise TextError("is empty: it needs a mapping, lines of 'key: value'", 1)
    return root


def line_of(where: yaml.Node | yaml.Event) -> int:
    """Return the line that a node or an event begins at, counted from 1."""
    mark = where.start_mark
    return mark.line + 1 if mark is not None else 1


# PyYAML that was built without libyaml has no CSafeLoader.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves scalars untyped, with a tag for those without quotes."""

    yaml_implicit_resolvers = {None: [(PLAIN, re.compile(""))]}  # noqa: RUF012


def _check_events(text: str) -> None:
    """Check that a text is one document, and neither too deep nor too large.

    Composing recurses in C without a guard: 200,000 brackets crash the process.
    """
    depth = documents = 0
    anchors: set[str] = set()
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
            raise TextError(NO_ANCHOR, line_of(event))
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            anchors.add(event.anchor)
        if documents > 1:
            raise TextError(SECOND_DOCUMENT, line_of(event))
        if depth > MAX_DEPTH:
            raise TextError(TOO_DEEP, line_of(event))
        if count > 2 * MAX_NODES:
            raise TextError(f"holds more than {MAX_NODES} values", line_of(event))


def _syntax_error(error: yaml.YAMLError, text: str) -> TextError:
    """Return the mistake in our words, or in the parser's if we have none."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    lines = text.splitlines()
    # A text that ends too early is wrong on its last line, not on the one behind.
    number = min(mark.line if mark else 0, max(0, len(lines) - 1))
    opened = _open_brackets(text[: mark.index + 1] if mark else text)
    # The parser reads ahead and may meet its own limit before we have met ours.
    if len(opened) > MAX_DEPTH:
        return TextError(TOO_DEEP, opened[MAX_DEPTH])
    lines = lines[min([*opened, number + 1]) - 1 : number + 1]
    if lines and _TAB.match(lines[-1]):
        fault = "a tab indents this line: indent with spaces"
    elif any(_FLOW_VARIABLE.search(_unquoted(line)) for line in lines):
        fault = "put ${...} in quotes within [ ] and { }"
    elif any(_FLOW_BRACES.search(_unquoted(line)) for line in lines):
        fault = "put a path with braces in quotes within [ ] and { }: '/shop/{id}'"
    else:
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        fault = (
            f"{problem}: look at the indentation, the colons and the quotes of this "
            "line and the one before"
        )
    return TextError(f"is not YAML: {fault}", number + 1)


_TAB = re.compile(r" *\t")
_QUOTED = r""""(?:\\.|[^"\\])*"|'[^']*'"""
_COMMENT = r"(?:^|(?<=\s))#[^\n]*"
_LEFT_OUT = re.compile(f"{_QUOTED}|{_COMMENT}", re.MULTILINE)
_BRACKET = re.compile(
    f"{_QUOTED}|{_COMMENT}|(?P<opens>[\\[{{])|(?P<closes>[]}}])", re.M
)
_IN_FLOW = r"(?:^|[\s\[{,])[\[{].*"
_FLOW_VARIABLE = re.compile(_IN_FLOW + r"(?<=\$)\{")
_FLOW_BRACES = re.compile(_IN_FLOW + r"(?<=[^\s\[{,:$])\{")


def _unquoted(line: str) -> str:
    """Return a line without its quoted values and its comment."""
    return _LEFT_OUT.sub("", line)


def _open_brackets(text: str) -> list[int]:
    """Return the lines of brackets that are open where the events end."""
    opened: list[int] = []
    line, at = 1, 0
    for found in _BRACKET.finditer(text):
        if found["opens"]:
            line, at = line + text.count("\n", at, found.start()), found.start()
            opened.append(line)
            if len(opened) > MAX_DEPTH:
                break
        elif found["closes"] and opened:
            opened.pop()
    return opened
