"""The ids that browsers keep in cookies, and the cookies. Pure."""

from __future__ import annotations

import re

DEVICE_COOKIE = "moe_device"
"""The cookie that keeps a device id which the Web SDK's own cookie did not tell."""

_SECURE_NAMES = ("__host-", "__secure-", "__http-")

_MINTED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def minted_id(cookie: str | None) -> str | None:
    """Return the id in our own cookie, or None where we cannot have written it.

    Anything but a uuid was put there by someone else: it could be a customer's id, on
    whose profile this browser's events would then land.
    """
    return cookie if cookie and _MINTED.fullmatch(cookie) else None


def device_id(value: str | None) -> str | None:
    """Return the Web SDK's device id, or None of what is none: all of them are uuids.

    Whatever else a browser tells could be a customer's id.
    """
    return value if value and _MINTED.fullmatch(value.lower()) else None


def visitor_cookie(name: str, visitor_id: str, *, max_age: int, secure: bool) -> str:
    """Return the Set-Cookie value that keeps a minted id, ``max_age`` in seconds.

    Browsers refuse a name like ``__Host-...`` without Secure, whatever the connection.
    """
    secure = secure or name.lower().startswith(_SECURE_NAMES)
    value = f"{name}={visitor_id}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax"
    return f"{value}; Secure" if secure else value
