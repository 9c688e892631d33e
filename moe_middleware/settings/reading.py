"""Reads a settings file, YAML 1.2, into a document.

Nothing in a file's text raises: every mistake becomes a problem of the document.
"""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from .documents import Document, Overrides
from .scalars import as_plain, as_text
from .validation import Mistake, Place
from .variables import UnsetVariableError, VariableError, Variables
from .yaml12 import MAX_NODES, PLAIN, TextError, compose, line_of

MAX_BYTES = 1_000_000

_MAPPING = "tag:yaml.org,2002:map"
_SEQUENCE = "tag:yaml.org,2002:seq"
_TEXT = "tag:yaml.org,2002:str"


def read_document(
    path: Path,
    *,
    variables: Variables,
    overrides: Overrides | None = None,
    named_by: str | None = None,
) -> Document:
    """Read a file; if it cannot be read, the document has that problem.

    Args:
        path: The file.
        variables: The values for ``${VAR}``.
        overrides: Values that replace the file's.
        named_by: The variable that names the file, for the message if it is missing.
    """
    document = Document(str(path), overrides)
    try:
        # One byte more shows that it is too large, also where a device has no size.
        with path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if _CONTENT.search(str(path)):
            # It may hold a key, which no error repeats.
            document.file = named_by or "the path"
            return document.give_up(_IS_CONTENT)
        return document.give_up(_why_unread(error, path, named_by))
    if len(content) > MAX_BYTES:
        return document.give_up(f"is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows write a BOM
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return document.give_up("is not UTF-8 text: save it as UTF-8", line)
    return _parse(text, document, variables)


_CONTENT = re.compile(r"\A[\ufeff\s]*\{|\n|: ")
"""Text that a file has, and its path has not."""

_IS_CONTENT = (
    "this is the content of a file, and not its path: name the file, or give a mapping "
    "in code"
)


def _why_unread(error: Exception, path: Path, named_by: str | None) -> str:
    if isinstance(error, IsADirectoryError):
        return "is a directory: name the file in it"
    if not isinstance(error, FileNotFoundError):
        reason = getattr(error, "strerror", None) or "its name is no file name"
        return f"cannot be read: {reason}"
    parts = ["there is no such file"]
    if not path.is_absolute():
        parts.append(f"it was looked for in {Path.cwd()}")
    if named_by is not None:
        parts.append(f"{named_by} names it")
    return f"{', '.join(parts)}: create it or name another{_near_file(path)}"


def _near_file(path: Path) -> str:
    """Return the end of the message if a file of nearly this name is beside it."""
    with suppress(OSError, ValueError):
        # A folder may have millions of files, and this is only a suggestion.
        names = [one.name for one in islice(path.absolute().parent.iterdir(), 1000)]
        readable = [name for name in names if name.endswith((".yml", ".yaml"))]
        if near := get_close_matches(path.name, readable, n=1):
            return f": did you mean {near[0]!r}?"
    return ""


def parse_document(
    text: str,
    *,
    file: str | None = None,
    variables: Variables,
    overrides: Overrides | None = None,
) -> Document:
    """Parse YAML text; its mistakes are among the document's problems.

    Args:
        text: One YAML document, a mapping.
        file: The file name that problems show.
        variables: The values for ``${VAR}``.
        overrides: Values that replace the file's; variables in the replaced ones are
            not read.
    """
    return _parse(text, Document(file, overrides), variables)


def build_document(overrides: Overrides) -> Document:
    """Return a document without a file, made of overrides alone."""
    document = Document(None, overrides)
    _apply(document)
    return document


def _parse(text: str, document: Document, variables: Variables) -> Document:
    try:
        root = compose(text)
    except TextError as error:
        return document.give_up(str(error), error.line)
    _Reader(document, variables).read_root(root)
    return document


class _Reader:
    """Turns YAML nodes into a document's tree, and notes lines and mistakes."""

    def __init__(self, document: Document, variables: Variables) -> None:
        self._document = document
        self._variables = variables
        self._nodes = 0
        self._within: set[int] = set()

    def read_root(self, root: yaml.Node) -> None:
        document = self._document
        document.lines[()] = line_of(root)
        if not isinstance(root, yaml.MappingNode):
            message = "is not a mapping: write lines of 'key: value'"
            document.give_up(message, line_of(root))
            return
        try:
            document.tree = self._mapping(root, ())
        except TextError as error:
            document.give_up(str(error), error.line)
            return
        _apply(document)

    def _value(self, node: yaml.Node, place: Place) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            message = f"holds more than {MAX_NODES} values, its aliases spelled out"
            raise TextError(message, line_of(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        # An alias is the very node of its anchor.
        if id(node) in self._within:
            raise TextError("holds an alias of itself", line_of(node))
        self._within.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            return self._sequence(node, place)
        finally:
            self._within.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        self._check_tag(node, place, _MAPPING)
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, place)
            if key is None:
                continue
            inner = (*place, key)
            if key in first:
                self._note(
                    key_node,
                    inner,
                    f"duplicate key {key!r}: line {first[key]} has it already",
                )
                continue
            first[key] = line_of(key_node)
            self._document.lines[inner] = line_of(key_node)
            if inner not in self._document.overrides:
                found[key] = self._value(value_node, inner)
        return found

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        """Return a key as text, also where YAML 1.1 sees a boolean or a number."""
        if not isinstance(node, yaml.ScalarNode):
            self._note(node, place, "a key is a list or a mapping: keys are text")
            return None
        if node.value == "<<" and node.tag == PLAIN:
            message = "merge keys (<<) are not in YAML 1.2: write the lines out"
            self._note(node, (*place, "<<"), message)
            return None
        key: str = node.value
        return key

    def _sequence(self, node: yaml.Node, place: Place) -> list[Any]:
        self._check_tag(node, place, _SEQUENCE)
        found = []
        for index, inner in enumerate(node.value):
            self._document.lines[(*place, index)] = line_of(inner)
            found.append(self._value(inner, (*place, index)))
        return found

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> object:
        self._check_tag(node, place, PLAIN, _TEXT)
        try:
            text = self._variables.fill_in(node.value)
        except VariableError as error:
            # Not an error yet: the embedded sandbox, for one, needs no credentials.
            self._document.missing[place] = Mistake(place, str(error))
            if isinstance(error, UnsetVariableError):
                self._document.unset.add(place)
            return ""
        if text != node.value:
            self._document.filled[place] = (text, node.value)
        if node.tag == PLAIN:
            return as_plain(text, node.value)
        return as_text(text, node.value)

    def _check_tag(self, node: yaml.Node, place: Place, *known: str) -> None:
        if node.tag not in known:
            self._note(node, place, f"the tag {node.tag!r} is not supported")

    def _note(self, node: yaml.Node, place: Place, message: str) -> None:
        self._document.broken.append((line_of(node), Mistake(place, message)))


def _apply(document: Document) -> None:
    for place, override in document.overrides.items():
        holder: Any = document.tree
        for step in place[:-1]:
            if isinstance(holder, dict):
                if holder.get(step) is None:
                    holder[step] = {}
                holder = holder[step]
        if not isinstance(holder, dict):
            continue  # reported as a mistake of its own
        if override.value is None:
            holder.pop(place[-1], None)
        else:
            holder[place[-1]] = override.value
