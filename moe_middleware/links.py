"""Where a link may lead. Pure: texts in, texts out."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote, urlsplit

MAX_TARGET = 2_000
"""Characters of a link's target."""

NOWHERE = "#"
"""What stands in for a target that no page should hold."""


def leads_to(target: str, hosts: Collection[str] = ()) -> bool:
    """Whether a target is a path of this site, or a page of one of the hosts.

    What browsers read otherwise than it looks is neither: ``//evil.example``,
    ``/\\evil.example``, ``https://shop.example@evil.example``, ``javascript:...``.

    Args:
        target: As it would stand in ``href``.
        hosts: In lower case.
    """
    parts = _split(target)
    if parts is None:
        return False
    scheme, host = parts
    if not scheme and host is None:
        return target.startswith("/") and not target.startswith("//")
    return scheme in _WEB and host is not None and host in hosts


def harmless(target: str) -> str:
    """Return a target that a page may hold: a path, a fragment or a web address."""
    parts = _split(target)
    if parts is None or (parts[0] and parts[0] not in _WEB):
        return NOWHERE
    return NOWHERE if target.startswith("//") else target


def mounted_at(root_path: str) -> str:
    """Return what the paths of an app begin with in a page, as in ``/shop``.

    Empty for one that is not mounted, and where the prefix would lead elsewhere.

    Args:
        root_path: As the server tells it, decoded.
    """
    if not root_path:
        return ""
    prefix = quote(root_path.rstrip("/"), safe="/-._~!$&'()*+,;=:@%")
    return prefix if leads_to(prefix) else ""


_WEB = ("http", "https")


def _split(target: object) -> tuple[str, str | None] | None:
    """Return the scheme and the host of a target, None of what is none."""
    if not isinstance(target, str):
        # A payload may have a number there, or nothing at all.
        return None
    odd = "\\" in target or not target.isprintable() or target != target.strip()
    if odd or len(target) > MAX_TARGET:
        return None
    try:
        parts = urlsplit(target)
        host = parts.hostname
        # Browsers are quicker to see a scheme than we are.
        scheme = parts.scheme or ("?" if _may_be_scheme(target) else "")
    except ValueError:
        return None
    # Browsers find a host, and credentials, in "https:user@evil.example" as well.
    has_host = parts.netloc or scheme in _WEB
    if parts.username is not None or (has_host and host is None):
        return None
    return scheme, host


def _may_be_scheme(target: str) -> bool:
    before, found, _ = target.partition(":")
    return bool(found) and not any(mark in before for mark in "/?#")
