"""The name of a visitor in log lines, if the settings want it. Pure: no I/O."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

DIGITS = 16
"""Hexadecimal digits of the SHA-256, as ``printf %s alice | sha256sum`` begins: among a
billion visitors, two have the same ones in one of 37 workspaces."""


class LogNames:
    """Makes the end of log lines about one visitor.

    With an id one can find its lines, and the lines of one visitor have the same name;
    no line has the id itself. Hashes of guessable ids can be reversed by trying.

    Args:
        how: The setting ``log_ids``.

    Attributes:
        wanted: Whether names are made at all.
    """

    def __init__(self, how: Literal["off", "sha256"]) -> None:
        self.wanted = how == "sha256"

    def of(self, reporting_id: str | None) -> str:
        """Return `` visitor=sha256:...``, or an empty text without an id."""
        if not self.wanted or reporting_id is None:
            return ""
        digest = sha256(reporting_id.encode(errors="replace")).hexdigest()
        return f" visitor=sha256:{digest[:DIGITS]}"
