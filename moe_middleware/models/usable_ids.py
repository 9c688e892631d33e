"""Decides which texts can be a person's id. Pure."""

from __future__ import annotations

from enum import StrEnum

MAX_ID_LENGTH = 256
"""The longest id: longer ones are noise or an attack; no document gives a limit."""

PLACEHOLDER_IDS = frozenset(
    {
        *("unknown", "guest", "anonymous", "anon"),
        *("null", "(null)", "<null>", "nil", "none", "undefined", "nan", "na", "n/a"),
        *("0", "1", "2", "-1", "true", "false", "[object object]"),
        *("id", "uid", "userid", "user_id", "customer_id", "visitor_id"),
    }
)
"""Placeholders, not ids; MoEngage's SDKs refuse most of them as user ids."""


BLANKS = " \t\n\r\f\v"
"""Characters that are no part of an id at its ends. Not all blanks of Unicode:
frameworks decode UTF-8 in cookies as Latin-1, and the last byte of a letter may then be
one."""

_LATIN = dict.fromkeys((*range(128, 161), 173), "x")
"""Controls and blanks of Latin-1 that may be bytes of letters, for the same reason."""


class Flaw(StrEnum):
    """Why a text cannot be one person's id."""

    EMPTY = "empty"
    PLACEHOLDER = "placeholder"
    TOO_LONG = "too_long"
    UNPRINTABLE = "unprintable"


def flaw_of(text: str, *, by_anyone: bool) -> Flaw | None:
    """Return the flaw of an id; None for a good one.

    Args:
        text: The id, without blanks at its ends.
        by_anyone: Whether clients choose the value freely. Only then are placeholders
            refused: the first user of a database has the id 1.
    """
    if not text:
        return Flaw.EMPTY
    if len(text) > MAX_ID_LENGTH:
        return Flaw.TOO_LONG
    if not text.isprintable() and not text.translate(_LATIN).isprintable():
        return Flaw.UNPRINTABLE
    if by_anyone and text.lower() in PLACEHOLDER_IDS:
        return Flaw.PLACEHOLDER
    return None


def usable_id(text: str | None, *, by_anyone: bool = True) -> str | None:
    """Return an id that can be one person's, trimmed, or None."""
    text = text.strip(BLANKS) if text is not None else ""
    return text if flaw_of(text, by_anyone=by_anyone) is None else None
