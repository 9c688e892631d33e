"""Where a link may lead. Pure: texts in, texts out."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

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


_WEB = ("http", "https")


def _split(target: str) -> tuple[str, str | None] | None:
    """Return the scheme and the host of a target, None of what is none."""
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
    if parts.username is not None or (parts.netloc and host is None):
        return None
    return scheme, host


def _may_be_scheme(target: str) -> bool:
    before, found, _ = target.partition(":")
    return bool(found) and not any(mark in before for mark in "/?#")
