"""What log lines call a visitor, where the settings ask for it. Pure: no I/O."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

DIGITS = 16
"""Hexadecimal ones of the SHA-256, as ``printf %s alice | sha256sum`` prints them
first: two of a billion visitors meet in them once in 37 workspaces."""


class LogNames:
    """Makes the end of log lines that are about one visitor.

    Whoever knows an id finds its lines, and lines of the same visitor find each other;
    the id itself is in none. An id that can be guessed can be found out nevertheless,
    by trying.

    Args:
        how: The setting ``log_ids``.

    Attributes:
        wanted: Whether there is anything to make at all.
    """

    def __init__(self, how: Literal["off", "sha256"]) -> None:
        self.wanted = how == "sha256"

    def of(self, reporting_id: str | None) -> str:
        """Return `` visitor=sha256:...``, or nothing for who has no id."""
        if not self.wanted or reporting_id is None:
            return ""
        digest = sha256(reporting_id.encode(errors="replace")).hexdigest()
        return f" visitor=sha256:{digest[:DIGITS]}"
