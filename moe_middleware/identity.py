"""Who the visitor is: which ids are believed, and one of ours where there is none.

Pure: ids and cookies in, ids and cookies out.
"""

from __future__ import annotations

import re
from enum import StrEnum

MAX_ID_LENGTH = 256
"""Ids beyond it are noise or an attack; no document gives a limit."""

PLACEHOLDER_IDS = frozenset(
    {
        *("unknown", "guest", "anonymous", "anon"),
        *("null", "(null)", "<null>", "nil", "none", "undefined", "nan", "na", "n/a"),
        *("0", "1", "2", "-1", "true", "false", "[object object]"),
        *("id", "uid", "userid", "user_id", "customer_id", "visitor_id"),
    }
)
"""Texts that stand for no person; MoEngage's SDKs refuse most of them as user ids."""

DEVICE_COOKIE = "moe_device"
"""The cookie that keeps a device id which the Web SDK's own cookie did not tell."""

_SECURE_NAMES = ("__host-", "__secure-", "__http-")

_MINTED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Flaw(StrEnum):
    """Why a text cannot stand for one person."""

    EMPTY = "empty"
    PLACEHOLDER = "placeholder"
    TOO_LONG = "too_long"
    UNPRINTABLE = "unprintable"


def flaw_of(text: str, *, by_anyone: bool) -> Flaw | None:
    """Return what is wrong with an id; None for a good one.

    Args:
        text: It, without blanks at its ends.
        by_anyone: Whether any client can send it. Only then is a placeholder refused:
            the first user of a database is number 1, and a session knows that.
    """
    if not text:
        return Flaw.EMPTY
    if len(text) > MAX_ID_LENGTH:
        return Flaw.TOO_LONG
    if not text.isprintable():
        return Flaw.UNPRINTABLE
    if by_anyone and text.lower() in PLACEHOLDER_IDS:
        return Flaw.PLACEHOLDER
    return None


def usable_id(text: str | None, *, by_anyone: bool = True) -> str | None:
    """Return an id that can stand for one person, trimmed, or None."""
    text = text.strip() if text is not None else ""
    return text if flaw_of(text, by_anyone=by_anyone) is None else None


def minted_id(cookie: str | None) -> str | None:
    """Return the id in our own cookie, or None where we cannot have written it.

    Anything but a uuid was put there by someone else: it could be a customer's id, on
    whose profile this browser's events would then land.
    """
    return cookie if cookie and _MINTED.fullmatch(cookie) else None


def device_id(told: str | None) -> str | None:
    """Return the Web SDK's device id, or None of what is none: all of them are uuids.

    Whatever else a browser tells could be a customer's id.
    """
    return told if told and _MINTED.fullmatch(told.lower()) else None


def visitor_cookie(name: str, visitor_id: str, *, max_age: int, secure: bool) -> str:
    """Return the Set-Cookie value that keeps a minted id, ``max_age`` in seconds.

    Browsers refuse a name like ``__Host-...`` without Secure, whatever the connection.
    """
    secure = secure or name.lower().startswith(_SECURE_NAMES)
    value = f"{name}={visitor_id}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax"
    return f"{value}; Secure" if secure else value
