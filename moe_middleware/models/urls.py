"""Where a link may lead. Pure: texts in, texts out."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import unescape
from urllib.parse import quote, urlsplit

from .plain_values import text_of

MAX_TARGET = 2_000
"""Characters of a target that a link counts for; longer ones stay plain links."""

NOWHERE = "#"
"""What stands in for a target that no page should hold."""


def leads_to(target: str, hosts: Collection[str] = ()) -> bool:
    """Whether a target is a path of this site, or a page of one of the hosts.

    What browsers read otherwise than it looks is neither: ``//evil.example``,
    ``/\\evil.example``, ``https://shop.example@evil.example``, ``javascript:...``.

    Args:
        target: As it would stand in ``href``.
        hosts: In lower case; ``*.example.com`` is all below it.
    """
    parts = _split(target)
    if parts is None:
        return False
    scheme, host = parts
    if not scheme and host is None:
        return target.startswith("/") and not target.startswith("//")
    return scheme in _WEB and host is not None and _is_one_of(host, hosts)


def _is_one_of(host: str, hosts: Collection[str]) -> bool:
    if ":" in host:
        host = f"[{host}]"
    if host in hosts:
        return True
    labels = host.split(".")
    return any("*." + ".".join(labels[at:]) in hosts for at in range(1, len(labels)))


def harmless(target: object) -> str:
    """Return a target that a page may hold, without the blanks around it.

    Paths, fragments, web addresses, ``mailto:``, ``tel:`` and an app's own schemes stay
    as they are. ``#`` takes the place of what is no text, of what can run a script, and
    of what hides the host that it leads to.
    """
    cleaned = clean(target)
    if cleaned is None or not _is_safe(cleaned):
        return NOWHERE
    # Where a template does not escape, a browser reads what the entities stand for.
    read = cleaned
    for _ in range(_ENTITIES_WITHIN_EACH_OTHER):
        if "&" not in read or (meant := unescape(read)) == read:
            break
        read = meant.strip(_AROUND)
        if not _is_safe(read):
            return NOWHERE
    return cleaned


def clean(target: object) -> str | None:
    """Return a target as text without the blanks around it, None of what is no text.

    Editors leave blanks, line breaks and invisible characters at the ends of a link.
    """
    text = text_of(target)
    return None if text is None else text.strip(_AROUND)


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

_AROUND = "".join(map(chr, range(0x21))) + (
    "\x7f\x85\xa0\xad\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""What may stand around a link unseen: blanks, controls and their kin."""

_ENTITIES_WITHIN_EACH_OTHER = 3

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE | re.ASCII)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Browsers drop some controls, others turn what is read around, and UTF-8 cannot hold
half a character."""

_RUNS = frozenset(
    {
        *("javascript", "data", "vbscript", "livescript", "mocha", "jscript"),
        *("blob", "filesystem", "jar", "view-source", "mhtml", "file"),
    }
)
"""Schemes that run what they hold, or read the visitor's own disk."""

_RUNS_WITHIN = re.compile(r"(?:javascript|vbscript|data)\s*[:;]", re.IGNORECASE)
"""As in ``feed:javascript:...`` and ``intent://x#Intent;scheme=javascript;end``."""

_WITH_HOST = frozenset({"http", "https", "ftp", "ws", "wss"})
"""Schemes in which browsers look for a host, however many slashes there are."""


def _is_safe(text: str) -> bool:
    """Whether a browser runs no script for a link, and leads where it seems to."""
    if "\\" in text or _CONTROL.search(text) or text.startswith("//"):
        return False
    found = _SCHEME.match(text)
    if found is None:
        return True
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme in _RUNS:
        return False
    if scheme not in _WITH_HOST:
        return not _RUNS_WITHIN.search(rest)
    host = re.match(r"//([^/?#]+)", rest)
    if host is None or "@" in host[1]:
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


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
    # Browsers find a host, and credentials, in "https:user@evil.example" as well.
    has_host = parts.netloc or scheme in _WEB
    if parts.username is not None or (has_host and host is None):
        return None
    return scheme, host


def _may_be_scheme(target: str) -> bool:
    before, found, _ = target.partition(":")
    return bool(found) and not any(mark in before for mark in "/?#")
