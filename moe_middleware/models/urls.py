"""Checks the targets of links. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from html import unescape
from urllib.parse import quote, urlsplit

from .plain_values import text_of

MAX_TARGET = 2_000
"""The longest target of a counted link; longer ones stay plain links."""

NOWHERE = "#"
"""Replaces a target that no page should have."""


def leads_to(target: str, hosts: Collection[str] = ()) -> bool:
    """Whether a target is a path of this site, or a page of one of the hosts.

    Targets that browsers read differently are neither: ``//evil.example``,
    ``/\\evil.example``, ``https://shop.example@evil.example``, ``javascript:...``.

    Args:
        target: The value for ``href``.
        hosts: In lower case; ``*.example.com`` means all hosts below it.
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
    """Return a target that is safe in a page, without blanks around it.

    Paths, fragments, web addresses, ``mailto:``, ``tel:`` and an app's own schemes stay
    as they are. ``#`` replaces values that are no text, can run a script, or hide their
    host.
    """
    cleaned = clean(target)
    if cleaned is None or not _is_safe(cleaned):
        return NOWHERE
    # If a template does not escape, a browser decodes the entities.
    read = cleaned
    for _ in range(_ENTITIES_WITHIN_EACH_OTHER):
        if "&" not in read or (meant := unescape(read)) == read:
            break
        read = meant.strip(_AROUND)
        if not _is_safe(read):
            return NOWHERE
    return cleaned


def clean(target: object) -> str | None:
    """Return a target as text without blanks around it; None if it is no text.

    Editors leave blanks, line breaks and invisible characters at the ends of a link.
    """
    text = text_of(target)
    return None if text is None else text.strip(_AROUND)


@lru_cache(maxsize=64)
def mounted_at(root_path: str) -> str:
    """Return the prefix of an app's paths in a page, as in ``/shop``.

    Empty if the app is not mounted, or if the prefix would lead to another host.

    Args:
        root_path: As the server passes it, decoded.
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
"""Invisible characters that may surround a link: blanks, controls and similar."""

_ENTITIES_WITHIN_EACH_OTHER = 3

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE | re.ASCII)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Browsers drop some controls, others change the direction of text, and UTF-8 cannot
encode half a surrogate pair."""

_RUNS = frozenset(
    {
        *("javascript", "data", "vbscript", "livescript", "mocha", "jscript"),
        *("blob", "filesystem", "jar", "view-source", "mhtml", "file"),
    }
)
"""Schemes that run their content, or read the visitor's own disk."""

_RUNS_WITHIN = re.compile(r"(?:javascript|vbscript|data)\s*[:;]", re.IGNORECASE)
"""Schemes that wrap others, as in ``feed:javascript:...`` and
``intent://x#Intent;scheme=javascript;end``."""

_WITH_HOST = frozenset({"http", "https", "ftp", "ws", "wss"})
"""Schemes in which browsers look for a host, after any number of slashes."""


def _is_safe(text: str) -> bool:
    """Whether a link runs no script and leads to the host that it shows."""
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
    """Return the scheme and the host of a target; None if it has none."""
    odd = "\\" in target or not target.isprintable() or target != target.strip()
    if odd or len(target) > MAX_TARGET:
        return None
    try:
        parts = urlsplit(target)
        host = parts.hostname
        # Browsers recognise more schemes than urlsplit does.
        before, colon, _ = target.partition(":")
        is_scheme = colon and not any(mark in before for mark in "/?#")
        scheme = parts.scheme or ("?" if is_scheme else "")
    except ValueError:
        return None
    # Browsers also see a host, and credentials, in "https:user@evil.example".
    has_host = parts.netloc or scheme in _WEB
    if parts.username is not None or (has_host and host is None):
        return None
    return scheme, host
