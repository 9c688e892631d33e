"""The headers that keep one visitor's page from another. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

Headers = list[tuple[bytes, bytes]]

_SHARED = ("public", "s-maxage", "private")


def personal_headers(headers: Iterable[tuple[bytes, bytes]], vary: str) -> Headers:
    """Return a personalised response's headers: kept private, and varied.

    What is already stricter stays as it is.

    Args:
        headers: The response's own headers, names in any case.
        vary: What the answer depends on, as in ``"Cookie, X-Email"``.
    """
    kept: Headers = []
    cache_control: list[str] = []
    varied: tuple[str, ...] = ()
    for name, value in headers:
        match name.lower():
            case b"cache-control":
                cache_control.append(value.decode("latin-1"))
            case b"vary":
                varied = (*varied, value.decode("latin-1"))
            case _:
                kept.append((name, value))
    kept.append((b"cache-control", private(", ".join(cache_control)).encode("latin-1")))
    if both := merged_vary(varied, vary):
        kept.append((b"vary", both.encode("latin-1")))
    return kept


@lru_cache(maxsize=256)
def private(cache_control: str) -> str:
    """Return the Cache-Control that no shared cache may store under.

    ``no-store`` and a plain ``private`` are strict enough. ``private="Field"`` is not:
    it protects that one field only.
    """
    directives = _split_quoted(cache_control)
    names = [directive.lower() for directive in directives]
    if "no-store" in names or "private" in names:
        return cache_control
    kept = [
        directive
        for directive in directives
        if directive.partition("=")[0].strip().lower() not in _SHARED
    ]
    return ", ".join(["private", *kept])


@lru_cache(maxsize=256)
def merged_vary(given: tuple[str, ...], added: str) -> str:
    """Return one Vary with every name once; ``*`` is the strictest and stays."""
    names: dict[str, str] = {}
    for line in (*given, added):
        for name in filter(None, (part.strip() for part in line.split(","))):
            names.setdefault(name.lower(), name)
    return "*" if "*" in names else ", ".join(names.values())


def _split_quoted(text: str) -> list[str]:
    """Split at the commas that stand outside of quotes."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
