"""Scalars of YAML 1.2: null, booleans, numbers and text. Pure: no I/O."""

from __future__ import annotations

import re

MAX_DIGITS = 400
"""A longer number stays text: no setting needs one."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# A number with a leading zero stays text: 03 is a data center, not a three.
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_REAL = re.compile(
    r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


class WrittenText(str):
    """Text with variables filled in; its ``repr`` shows it as the file writes it."""

    __slots__ = ("written",)
    written: str

    def __repr__(self) -> str:
        return repr(self.written)


class _Digits:
    """A number that turns back into its digits where text is expected."""

    text: str
    written: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.written


class WrittenInt(_Digits, int):
    """A whole number with its digits."""


class WrittenFloat(_Digits, float):
    """A number with its digits."""


def as_text(text: str, written: str) -> str:
    """Return text that remembers how the file writes it."""
    if text == written:
        return text
    value = WrittenText(text)
    value.written = written
    return value


def as_plain(text: str, written: str) -> object:
    """Return the value of a scalar without quotes: None, bool, int, float or str.

    Args:
        text: The scalar with its variables filled in.
        written: The scalar as the file has it, for messages.
    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number: WrittenInt | WrittenFloat
    if len(text) > MAX_DIGITS:
        return as_text(text, written)
    if _WHOLE.fullmatch(text):
        number = WrittenInt(text)
    elif _BASED.fullmatch(text):
        number = WrittenInt(text, 0)
    elif _REAL.fullmatch(text):
        number = WrittenFloat(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    else:
        return as_text(text, written)
    number.text, number.written = text, written
    return number
