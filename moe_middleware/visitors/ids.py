"""The ids in browsers' cookies, and the cookies. Pure."""

from __future__ import annotations

import re

DEVICE_COOKIE = "moe_device"
"""The cookie for a device id that the Web SDK's own cookie does not contain."""

_SECURE_NAMES = ("__host-", "__secure-", "__http-")

_MINTED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def minted_id(cookie: str | None) -> str | None:
    """Return the id in our own cookie, or None if we cannot have written it.

    Any other value than a uuid is foreign: it could be a customer's id, and this
    browser's events would be added to that profile.
    """
    return cookie if cookie and _MINTED.fullmatch(cookie) else None


def device_id(value: str | None) -> str | None:
    """Return ``value`` if it is a device id of the Web SDK (a uuid), else None.

    Any other value of a browser could be a customer's id.
    """
    return value if value and _MINTED.fullmatch(value.lower()) else None


def visitor_cookie(name: str, visitor_id: str, *, max_age: int, secure: bool) -> str:
    """Return the Set-Cookie value for a new id; ``max_age`` in seconds.

    Browsers refuse a name like ``__Host-...`` without Secure, on any connection.
    """
    secure = secure or name.lower().startswith(_SECURE_NAMES)
    value = f"{name}={visitor_id}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Lax"
    return f"{value}; Secure" if secure else value
