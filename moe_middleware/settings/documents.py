"""A settings file as a tree that remembers its lines: YAML 1.2, read with care.

Nothing raises for what a file says: every mistake becomes one of its problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..models.errors import Problem
from .scalars import as_plain, as_text
from .validation import Mistake, Place
from .variables import VariableError, Variables
from .yaml12 import MAX_NODES, PLAIN, TextError, compose, line_of

MAX_BYTES = 1_000_000

_TELLING = 6
"""A shorter value is also part of ordinary words."""

_MAPPING = "tag:yaml.org,2002:map"
_SEQUENCE = "tag:yaml.org,2002:seq"
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Override:
    """A value that takes a file's place; None only takes the file's away.

    Attributes:
        value: What stands in the tree instead.
        name: The variable it comes from; None for a keyword, known by its place.
    """

    value: object
    name: str | None = None


Overrides = Mapping[Place, Override]


class Document:
    """A tree of mappings, lists and scalars, and where each of them stands.

    Attributes:
        tree: The root mapping, variables filled in and overrides in place.
        file: The file's name; None for a document that is no file.
        readable: Whether there is a tree; where not, the problems tell why.
    """

    def __init__(self, file: str | None = None, overrides: Overrides | None = None):
        self.tree: dict[str, Any] = {}
        self.file = file
        self.readable = True
        self._overrides = overrides or {}
        self._lines: dict[Place, int] = {}
        self._broken: list[tuple[int | None, Mistake]] = []
        self._missing: dict[Place, Mistake] = {}
        self._filled: dict[Place, tuple[str, str]] = {}

    def give_up(self, message: str, line: int | None = None) -> Document:
        """Note why there is no tree to look at."""
        self.readable = False
        self._broken.append((line, Mistake((), message)))
        return self

    def forgive(self, place: Place) -> None:
        """Leave out the values at or below a place whose variables are missing."""
        forgiven = [known for known in self._missing if known[: len(place)] == place]
        for known in forgiven:
            del self._missing[known]
        if forgiven:
            _remove(self.tree, place)

    def problems(self, mistakes: Iterable[Mistake] = ()) -> list[Problem]:
        """Return the file's own problems and the given mistakes, in line order.

        A place is told of once: what is missing there is also wrong in other ways.
        """
        found = [self.problem(mistake, line) for line, mistake in self._broken]
        found += [self.problem(mistake) for mistake in self._missing.values()]
        told = set(self._missing)
        for mistake in mistakes:
            ends = range(len(mistake.place) + 1)
            if not any(mistake.place[:end] in told for end in ends):
                told.add(mistake.place)
                found.append(self.problem(mistake))
        return sorted(found, key=_by_line)

    def problem(self, mistake: Mistake, line: int | None = None) -> Problem:
        """Return a mistake with its file and line, or the variable it comes from."""
        override = self._override_of(mistake.place)
        where = ".".join(str(step) for step in self._written(mistake.place))
        if override is not None:
            return Problem(where=override.name or where, message=mistake.message)
        return Problem(
            where=where,
            message=self._unfilled(mistake),
            file=self.file,
            line=self._line(mistake.place) if line is None else line,
        )

    def _written(self, place: Place) -> Iterator[object]:
        """Go through a place as the file has it: one text may stand for a list."""
        holder: Any = self.tree
        for step in place:
            if isinstance(step, int) and isinstance(holder, str | int | float):
                continue
            yield step
            try:
                holder = holder[step]
            except (LookupError, TypeError):
                holder = None

    def _unfilled(self, mistake: Mistake) -> str:
        """Return a message that shows variables instead of their values."""
        message, place = mistake.message, mistake.place
        for known, (text, written) in self._filled.items():
            if known[: len(place)] == place:
                message = message.replace(repr(text), repr(written))
                if len(text) >= _TELLING:
                    message = message.replace(text, written)
        return message

    def _override_of(self, place: Place) -> Override | None:
        for end in range(len(place), 0, -1):
            override = self._overrides.get(place[:end])
            if override is not None and override.value is not None:
                return override
        return None

    def _line(self, place: Place) -> int | None:
        for end in range(len(place), -1, -1):
            if (line := self._lines.get(place[:end])) is not None:
                return line
        return None


def read_document(
    path: Path,
    *,
    variables: Variables,
    overrides: Overrides | None = None,
    named_by: str | None = None,
) -> Document:
    """Read a file; one that cannot be read is a document with that problem.

    Args:
        path: The file.
        variables: What ``${VAR}`` finds.
        overrides: Values that take the place of the file's.
        named_by: The variable that names the file, for the message where it is missing.
    """
    document = Document(str(path), overrides)
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return document.give_up(_not_found(path, named_by))
    except IsADirectoryError:
        return document.give_up("is a directory: name the file in it")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no file name"
        return document.give_up(f"cannot be read: {reason}")
    if len(content) > MAX_BYTES:
        return document.give_up(f"is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return document.give_up("is not UTF-8 text: save it as UTF-8", line)
    return _parse(text, document, variables)


def _not_found(path: Path, named_by: str | None) -> str:
    parts = ["there is no such file"]
    if not path.is_absolute():
        parts.append(f"it was looked for in {Path.cwd()}")
    if named_by is not None:
        parts.append(f"{named_by} names it")
    return f"{', '.join(parts)}: create it or name another"


def parse_document(
    text: str,
    *,
    file: str | None = None,
    variables: Variables,
    overrides: Overrides | None = None,
) -> Document:
    """Parse YAML text; what is wrong with it is among the document's problems.

    Args:
        text: One YAML document, a mapping.
        file: The name that problems show.
        variables: What ``${VAR}`` finds.
        overrides: Values that take the place of the file's, whose variables are
            then never looked for.
    """
    return _parse(text, Document(file, overrides), variables)


def build_document(overrides: Overrides) -> Document:
    """Return a document of overrides alone, without a file."""
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
    """Turns the nodes of a document into its tree, noting lines and mistakes."""

    def __init__(self, document: Document, variables: Variables) -> None:
        self._document = document
        self._variables = variables
        self._nodes = 0
        self._within: set[int] = set()

    def read_root(self, root: yaml.Node) -> None:
        document = self._document
        document._lines[()] = line_of(root)
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
        if id(node) in self._within:
            raise TextError("holds an alias of what it stands in", line_of(node))
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
            self._document._lines[inner] = line_of(key_node)
            if inner not in self._document._overrides:
                found[key] = self._value(value_node, inner)
        return found

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        """Return a key, always as text: ``on`` and ``1`` are names like any other."""
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
            self._document._lines[(*place, index)] = line_of(inner)
            found.append(self._value(inner, (*place, index)))
        return found

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> object:
        self._check_tag(node, place, PLAIN, _TEXT)
        try:
            text = self._variables.fill_in(node.value)
        except VariableError as error:
            self._document._missing[place] = Mistake(place, str(error))
            return ""
        if text != node.value:
            self._document._filled[place] = (text, node.value)
        if node.tag == PLAIN:
            return as_plain(text, node.value)
        return as_text(text, node.value)

    def _check_tag(self, node: yaml.Node, place: Place, *known: str) -> None:
        if node.tag not in known:
            self._note(node, place, f"the tag {node.tag!r} is not supported")

    def _note(self, node: yaml.Node, place: Place, message: str) -> None:
        self._document._broken.append((line_of(node), Mistake(place, message)))


def _apply(document: Document) -> None:
    for place, override in document._overrides.items():
        holder: Any = document.tree
        for step in place[:-1]:
            if isinstance(holder, dict):
                if holder.get(step) is None:
                    holder[step] = {}
                holder = holder[step]
        if not isinstance(holder, dict):
            continue  # what stands there is a mistake of its own
        if override.value is None:
            holder.pop(place[-1], None)
        else:
            holder[place[-1]] = override.value


def _remove(tree: dict[str, Any], place: Place) -> None:
    holder: Any = tree
    for step in place[:-1]:
        holder = holder.get(step, {})
    holder.pop(place[-1], None)


def _by_line(problem: Problem) -> float:
    return float("inf") if problem.line is None else problem.line
