"""Who the visitor is: which ids are believed, and one of ours where there is none.

Pure: ids and cookies in, ids and cookies out.
"""

from __future__ import annotations

import re

MAX_ID_LENGTH = 256
"""Ids beyond it are noise or an attack; no document gives a limit."""

PLACEHOLDER_IDS = frozenset(
    {
        *("", "unknown", "guest", "anonymous", "anon"),
        *("null", "(null)", "<null>", "nil", "none", "undefined", "nan", "na", "n/a"),
        *("0", "1", "2", "-1", "true", "false", "[object object]"),
        *("id", "uid", "userid", "user_id", "customer_id", "visitor_id"),
    }
)
"""Texts that mean "nobody"; MoEngage's own SDKs refuse most of them as user ids."""

DEVICE_COOKIE = "moe_device"
"""The cookie that keeps a device id which the Web SDK's own cookie did not tell."""

_MINTED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def usable_id(text: str | None) -> str | None:
    """Return an id that can stand for one person, trimmed, or None."""
    if text is None:
        return None
    text = text.strip()
    if text.lower() in PLACEHOLDER_IDS or len(text) > MAX_ID_LENGTH:
        return None
    return text if text.isprintable() else None


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
    """Return the Set-Cookie value that keeps a minted id, ``max_age`` in seconds."""
    value = f"{name}={visitor_id}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax"
    return f"{value}; Secure" if secure else value
