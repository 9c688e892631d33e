"""Fills ``${VAR}`` in the values of a settings file, also from ``VAR_FILE``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .trimming import trimmed

MAX_SECRET_BYTES = 65_536
"""A secret's file is a line or two; /dev/zero is not a secret."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_OPENINGS = re.compile(r"\$?\$\{")

DEEPEST = 20
"""References within references."""

FORMS = "write ${VAR} or ${VAR:-default}, or $${ for the characters themselves"


class VariableError(ValueError):
    """A variable has no value; the text never contains a secret."""


class UnsetVariableError(VariableError):
    """A variable is not set."""


class Variables:
    """The environment's variables; ``NAME_FILE`` names a file with a value.

    Attributes:
        files: The files that values were read from, as keys.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.files: dict[str, None] = {}

    def get(self, name: str) -> str | None:
        """Return a variable's value, else the content of the file that it names.

        Blanks and line breaks at the ends are removed.

        Raises:
            VariableError: ``NAME_FILE`` is set, but its file cannot be read.
        """
        if name in self._environ:
            return trimmed(self._environ[name])
        if file := self._environ.get(f"{name}_FILE"):
            self.files[trimmed(file)] = None
            return _read_secret(f"{name}_FILE", trimmed(file))
        return None

    def fill_in(self, text: str) -> str:
        """Return ``text`` with every ``${VAR}`` and ``${VAR:-default}`` replaced.

        The forms are Compose's, nested ones included: ``${A:-${B}}``, ``${A-default}``,
        ``${A:?message}``, ``${A:+instead}``. ``:`` treats an empty variable as a
        missing one. ``$${`` gives the two characters ``${``. References in the values
        of variables are not replaced.

        Raises:
            VariableError: A variable is missing, or a reference is malformed.
        """
        parts = []
        at = 0
        while opening := _OPENINGS.search(text, at):
            parts.append(text[at : opening.start()])
            at = opening.end()
            if opening[0] == "$${":
                parts.append("${")
            else:
                value, at = self._reference(text, at)
                parts.append(value)
        return "".join([*parts, text[at:]])

    def _reference(self, text: str, start: int) -> tuple[str, int]:
        """Return the value of a reference, and the index after its end."""
        name = _NAME.match(text, start)
        if name is None:
            raise VariableError(f"'${{' starts no variable: {FORMS}")
        at = name.end()
        operator = _OPERATOR.match(text, at)
        if operator is None:
            if text[at : at + 1] != "}":
                raise VariableError(_ended_badly(name[0], text[at:]))
            return self._needed(name[0]), at + 1
        # References in a default are filled in only if the default is used.
        word, end = _skipped(text, operator.end())
        if text[end : end + 1] != "}":
            raise VariableError(_ended_badly(name[0], ""))
        value = self.get(name[0])
        is_there = bool(value) if operator[0][0] == ":" else value is not None
        kind = operator[0][-1]
        if kind == "+":
            return (self.fill_in(word) if is_there else ""), end + 1
        if is_there:
            return value or "", end + 1
        if kind == "?":
            about = self.fill_in(word) or f"set it or {name[0]}_FILE"
            raise UnsetVariableError(f"the variable {name[0]} is not set: {about}")
        return self.fill_in(word), end + 1

    def _needed(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise UnsetVariableError(
                f"the variable {name} is not set: set it or {name}_FILE, or give a "
                f"default, as in ${{{name}:-default}}"
            )
        return value


def _skipped(text: str, start: int) -> tuple[str, int]:
    """Return the text after a reference's operator, and the index of its end."""
    depth, at = 0, start
    while at < len(text):
        opening = _OPENINGS.match(text, at)
        if opening is not None:
            depth += opening[0] == "${"
            if depth > DEEPEST:
                raise VariableError(f"nests more than {DEEPEST} variables")
            at = opening.end()
            continue
        if text[at] == "}":
            if not depth:
                break
            depth -= 1
        at += 1
    return text[start:at], at


def _ended_badly(name: str, rest: str) -> str:
    if not rest:
        return f"'${{{name}' has no '}}' at its end: {FORMS}"
    if rest[0] in ":=":
        return f"'${{{name}{rest[0]}' is no form that we know: {FORMS}"
    return f"'${{{name}' is followed by {rest[0]!r}: {FORMS}"


def _read_secret(name: str, file: str) -> str:
    # The text leaves out the file's name: it may be the secret, set by mistake.
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_SECRET_BYTES + 1)
        secret = trimmed(content.decode("utf-8-sig"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError:
        reason = "it is not UTF-8 text, or its name is no file name"
    else:
        if secret and len(content) <= MAX_SECRET_BYTES:
            return secret
        reason = "it is too large for a secret" if secret else "it is empty"
    raise VariableError(f"{name} names a file that gives no value: {reason}")
