"""Checks a workspace's id and keys. Pure: no I/O.

No error text contains a credential.
"""

from __future__ import annotations

import re

from pydantic import SecretStr

from .trimming import is_quoted, is_unfilled, trimmed

SHORTEST_SECRET = 16
"""Characters of a secret_key."""

_VISIBLE = re.compile(r"[!-~]+")


def check_workspace_id(value: str) -> str:
    """Return a workspace id, trimmed.

    Raises:
        ValueError: It is not one.
    """
    value = trimmed(value)
    _check_filled_in(value, "the id")
    # Basic credentials end it at a ':'.
    if not _VISIBLE.fullmatch(value) or ":" in value:
        raise ValueError(
            "this is no workspace id: it has visible ASCII characters, and no ':'"
        )
    return value


def check_api_key(value: SecretStr) -> SecretStr:
    """Return an API key, trimmed.

    Raises:
        ValueError: It is not one.
    """
    text = trimmed(value.get_secret_value())
    if not text:
        raise ValueError("the key is empty: copy it from the dashboard")
    _check_filled_in(text, "the key")
    if not _VISIBLE.fullmatch(text):
        raise ValueError(
            "the key has a blank, a line break or a letter that is not ASCII within "
            "it: copy it from the dashboard again"
        )
    return SecretStr(text)


def check_secret_key(value: SecretStr) -> SecretStr:
    """Return a key that signs links, trimmed.

    Raises:
        ValueError: It is unusable, or too short.
    """
    text = trimmed(value.get_secret_value())
    if is_unfilled(text):
        _check_filled_in(text, "the key")
    if len(text) < SHORTEST_SECRET:
        raise ValueError(
            f"a secret key has {SHORTEST_SECRET} characters at least: make one with "
            "'python -c \"import secrets; print(secrets.token_urlsafe(32))\"'"
        )
    return SecretStr(text)


def _check_filled_in(text: str, what: str) -> None:
    if is_unfilled(text):
        raise ValueError(
            f"{what} is a variable that nothing filled in: write ${{NAME}}"
        )
    if is_quoted(text):
        raise ValueError(f"{what} stands in quotes that are part of it: leave them out")
