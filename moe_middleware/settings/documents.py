"""A settings file as a tree that remembers its lines, and the problems found in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..models.errors import Problem, SettingsError
from .validation import Mistake, Place

_TELLING = 6
"""A shorter value of a variable may also occur in ordinary words."""


@dataclass(frozen=True, slots=True)
class Override:
    """A value that replaces one of the file.

    Attributes:
        value: The new value; None only removes the file's.
        name: The variable it comes from; None for a keyword.
    """

    value: object
    name: str | None = None


Overrides = Mapping[Place, Override]


class Document:
    """A tree of mappings, lists and scalars, with the line of each.

    Attributes:
        tree: The root mapping, with variables filled in and overrides applied.
        file: The file's name; None for a document without a file.
        readable: Whether there is a tree; if not, ``problems`` has the reason.
        overrides: The values that replace the file's.
        lines: The line of each place, counted from 1.
        broken: The mistake in the YAML itself, with the line.
        missing: The places whose variables have no value.
        unset: Those of them whose variables are only not set here.
        filled: The text of each place with variables, filled in and as written.
    """

    def __init__(self, file: str | None = None, overrides: Overrides | None = None):
        self.tree: dict[str, Any] = {}
        self.file = file
        self.readable = True
        self.overrides = overrides or {}
        self.lines: dict[Place, int] = {}
        self.broken: list[tuple[int | None, Mistake]] = []
        self.missing: dict[Place, Mistake] = {}
        self.unset: set[Place] = set()
        self.filled: dict[Place, tuple[str, str]] = {}

    def give_up(self, message: str, line: int | None = None) -> Document:
        """Note why there is no tree."""
        self.readable = False
        self.broken.append((line, Mistake((), message)))
        return self

    def forgive(self, place: Place) -> None:
        """Drop the values at or below a place whose variables are not set."""
        forgiven = [known for known in self.missing if known[: len(place)] == place]
        for known in forgiven:
            del self.missing[known]
        if forgiven:
            _remove(self.tree, place)

    def problems(self, mistakes: Iterable[Mistake] = ()) -> list[Problem]:
        """Return the file's own problems and the given mistakes, in line order.

        Each place is reported once: a missing value would fail further checks, too.
        """
        found = [self.problem(mistake, line) for line, mistake in self.broken]
        found += [
            replace(self.problem(mistake), unset=place in self.unset)
            for place, mistake in self.missing.items()
        ]
        reported = set(self.missing)
        for mistake in mistakes:
            ends = range(len(mistake.place) + 1)
            if not any(mistake.place[:end] in reported for end in ends):
                reported.add(mistake.place)
                found.append(self.problem(mistake))
        return sorted(found, key=_by_line)

    def refuse(self, mistakes: Iterable[Mistake]) -> None:
        """Raise an error with the file's problems and these mistakes, if any.

        Raises:
            SettingsError: There are some.
        """
        if problems := self.problems(mistakes):
            raise SettingsError(problems)

    def problem(self, mistake: Mistake, line: int | None = None) -> Problem:
        """Return a mistake with its file and line, or with the variable's name."""
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
        """Yield the steps of a place in the file, where a text may replace a list."""
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
        """Return the message with variables' names in place of their values."""
        message, place = mistake.message, mistake.place
        for known, (text, written) in self.filled.items():
            if known[: len(place)] == place:
                # A value may be a secret; its variable's name helps more, too.
                message = message.replace(repr(text), repr(written))
                if len(text) >= _TELLING:
                    message = message.replace(text, written)
        return message

    def _override_of(self, place: Place) -> Override | None:
        for end in range(len(place), 0, -1):
            override = self.overrides.get(place[:end])
            if override is not None and override.value is not None:
                return override
        return None

    def _line(self, place: Place) -> int | None:
        for end in range(len(place), -1, -1):
            if (line := self.lines.get(place[:end])) is not None:
                return line
        return None


def _remove(tree: dict[str, Any], place: Place) -> None:
    holder: Any = tree
    for step in place[:-1]:
        holder = holder.get(step, {})
    holder.pop(place[-1], None)


def _by_line(problem: Problem) -> float:
    return float("inf") if problem.line is None else problem.line
