"""``${VAR}`` in the values of a settings file, and the secrets behind ``VAR_FILE``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

MAX_SECRET_BYTES = 65_536
"""A secret's file is a line or two; /dev/zero is not a secret."""

_REFERENCE = re.compile(
    r"\$(?P<escaped>\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}"
    r"|\$\{"
)


class VariableError(ValueError):
    """A variable that has no value; the text never holds a secret."""


class Variables:
    """The environment's variables. A name that ends in ``_FILE`` leads to a file."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str | None:
        """Return a variable's value, else the content of the file it leads to.

        Raises:
            VariableError: ``NAME_FILE`` is set, but its file cannot be read.
        """
        if name in self._environ:
            return self._environ[name]
        if file := self._environ.get(f"{name}_FILE"):
            return _read_secret(f"{name}_FILE", file)
        return None

    def fill_in(self, text: str) -> str:
        """Return ``text`` with every ``${VAR}`` and ``${VAR:-default}`` replaced.

        As in a shell, the default also stands in for an empty variable. ``$${``
        gives the two characters ``${``. What is filled in is not looked at again.

        Raises:
            VariableError: A variable is missing, or a ``${`` leads nowhere.
        """
        return _REFERENCE.sub(self._replacement, text)

    def _replacement(self, found: re.Match[str]) -> str:
        if found["escaped"]:
            return "${"
        if not found["name"]:
            raise VariableError(
                "'${' starts no variable: write ${VAR} or ${VAR:-default}, "
                "or $${ for the characters themselves"
            )
        name, default = found["name"], found["default"]
        value = self.get(name)
        if default is not None:
            return value or default.removeprefix(":-")
        if value is None:
            raise VariableError(
                f"the variable {name} is not set: set it or {name}_FILE, or give a "
                f"default, as in ${{{name}:-default}}"
            )
        return value


def _read_secret(name: str, file: str) -> str:
    # The file's name stays out of the text: it may be the secret, set by mistake.
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_SECRET_BYTES + 1)
        secret = content.decode("utf-8-sig").strip()
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError:
        reason = "it is not UTF-8 text, or its name is no file name"
    else:
        if secret and len(content) <= MAX_SECRET_BYTES:
            return secret
        reason = "it is too large for a secret" if secret else "it is empty"
    raise VariableError(f"{name} names a file that gives no value: {reason}")
