"""The headers that keep one visitor's page from another. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ..models.texts import Headers
from ..settings.settings import Settings
from ..visitors.consents import Consents

_SHARED = ("public", "s-maxage", "private")

_ORDINARY = (
    *(b"content-length", b"content-type", b"content-encoding", b"content-language"),
    *(b"date", b"etag", b"last-modified", b"link", b"location", b"server"),
    *(b"server-timing", b"content-security-policy"),
    *(b"x-content-type-options", b"x-frame-options", b"referrer-policy"),
)
ORDINARY = frozenset({*_ORDINARY, *map(bytes.title, _ORDINARY), b"ETag"})
"""Headers without any effect on caching, as apps usually write them."""

_OVERRULING = {
    b"surrogate-control": b"no-store",
    b"x-accel-expires": b"0",
    b"edge-control": b"no-store",
}
"""Headers that content delivery networks and nginx prefer to Cache-Control, with the
values that forbid storing."""


def personal_headers(headers: Iterable[tuple[bytes, bytes]], vary: str) -> Headers:
    """Return a personalised response's headers: private, with a Vary.

    Stricter headers stay. If the app sends no lifetime, ``max-age=0`` is added: some
    caches respect ``max-age`` but not ``private``.

    Args:
        headers: The response's headers, with names in any case.
        vary: The request headers that the answer depends on, as in ``"Cookie,
            X-Email"``.
    """
    kept: Headers = []
    cache_control: list[str] = []
    expires = False
    varied: tuple[str, ...] = ()
    for name, value in headers:
        match name.lower():
            case b"cache-control":
                cache_control.append(value.decode("latin-1"))
            case b"vary":
                varied = (*varied, value.decode("latin-1"))
            case lower if lower.endswith(b"cdn-cache-control"):
                # RFC 9213, and vendors' own with a name before it.
                kept.append((name, b"no-store"))
            case lower:
                expires |= lower == b"expires"
                kept.append((name, _OVERRULING.get(lower, value)))
    directives = private(", ".join(cache_control))
    if not expires:
        directives = _without_a_guess(directives)
    kept.append((b"cache-control", directives.encode("latin-1")))
    if both := merged_vary(varied, vary):
        kept.append((b"vary", both.encode("latin-1")))
    return kept


def never_stored(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return headers that forbid all caches, also the browser's, to keep a page."""
    kept: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower.endswith(b"cdn-cache-control"):
            kept.append((name, b"no-store"))
        elif lower != b"cache-control":
            kept.append((name, _OVERRULING.get(lower, value)))
    kept.append((b"cache-control", b"no-store"))
    return kept


def private_lines(vary: str) -> Headers:
    """Return the headers that ``personal_headers`` adds to ordinary ones."""
    return personal_headers((), vary)


def is_streamed(headers: Headers) -> bool:
    """Whether a response has no length: then its body is made while it is sent."""
    return all(name.lower() != b"content-length" for name, _ in headers)


def is_private(cache_control: str) -> bool:
    """Whether no shared cache may store a response under this Cache-Control."""
    return private(cache_control) == cache_control


@lru_cache(maxsize=256)
def private(cache_control: str) -> str:
    """Return a Cache-Control that forbids shared caches to store.

    ``no-store`` and a plain ``private`` are strict enough. ``private="Field"`` is not:
    it protects that one field only; and ``must-understand`` takes back a ``no-store``.
    """
    directives = _split_quoted(cache_control)
    names = [directive.lower() for directive in directives]
    unstored = "no-store" in names and "must-understand" not in names
    if unstored or "private" in names:
        return cache_control
    kept = [
        directive
        for directive in directives
        if directive.partition("=")[0].strip().lower() not in _SHARED
    ]
    return ", ".join(["private", *kept])


@lru_cache(maxsize=256)
def _without_a_guess(cache_control: str) -> str:
    """Return a Cache-Control with a lifetime: none at all.

    Some caches respect only the lifetime, and guess a missing one.
    """
    names = {
        directive.partition("=")[0].strip().lower()
        for directive in _split_quoted(cache_control)
    }
    return cache_control if names & _FRESHNESS else f"{cache_control}, max-age=0"


_FRESHNESS = frozenset({"max-age", "no-cache", "no-store"})


def vary_of(settings: Settings) -> str:
    """Return the Vary of every personalised page: headers that identify visitors."""
    sources = [source for _, source in settings.sources()]
    names = [source.name for source in sources if source.kind == "header"]
    signals = Consents(settings.consent).signals if settings.consent is not None else ()
    return ", ".join(dict.fromkeys(["Cookie", *names, *signals]))


@lru_cache(maxsize=256)
def merged_vary(given: tuple[str, ...], added: str) -> str:
    """Return one Vary with every name once; ``*`` is the strictest and stays."""
    names: dict[str, str] = {}
    for line in (*given, added):
        for name in filter(None, (part.strip() for part in line.split(","))):
            names.setdefault(name.lower(), name)
    return "*" if "*" in names else ", ".join(names.values())


def _split_quoted(text: str) -> list[str]:
    """Split at the commas outside of quotes."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        quoted ^= character == '"' and not escaped
        escaped = quoted and character == "\\" and not escaped
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
