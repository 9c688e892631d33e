"""Requests that are no view of a page: prefetches, assets, CORS preflights.

Pure: no I/O.
"""

from __future__ import annotations

import re

from ..models.visits import Visit


def is_prefetch(visit: Visit) -> bool:
    """Whether a browser or a script requests a page ahead of its user."""
    # Every page with an impression asks, and hardly any has one of them.
    if _TELLING.isdisjoint(visit.first_headers):
        return False
    for name, value in visit.all_headers:
        if name in _PURPOSES and _AHEAD.search(_word(value)):
            return True
        if name in _FLAGS and _word(value) not in _OFF:
            return True
    return False


def is_asset(visit: Visit) -> bool:
    """Whether a request is clearly for a file within a page, not for a page.

    Browsers send the destination; only without it does the path's ending decide. A
    script's own request may be for a part of a page, and is no file.
    """
    wanted = visit.header("sec-fetch-dest")
    if wanted:
        return wanted.strip().lower() in _ASSETS
    ending = visit.path.rpartition(".")[2].lower()
    return ending in _ENDINGS and len(ending) < len(visit.path)


def is_preflight(visit: Visit) -> bool:
    """Whether a request is a CORS preflight."""
    return (
        visit.method == "OPTIONS"
        and visit.header("access-control-request-method") is not None
    )


_ASSETS = frozenset(
    {
        *("audio", "audioworklet", "font", "image", "json", "manifest"),
        *("paintworklet", "report", "script", "serviceworker", "sharedworker"),
        *("style", "track", "video", "webidentity", "worker", "xslt"),
    }
)
"""Values of Sec-Fetch-Dest."""

_ENDINGS = frozenset(
    {
        *("css", "js", "mjs", "map", "wasm", "webmanifest"),
        *("png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "bmp"),
        *("woff", "woff2", "ttf", "otf", "eot"),
        *("mp3", "mp4", "m4a", "ogg", "wav", "webm", "mov", "vtt"),
    }
)

_PURPOSES = frozenset(
    {
        # Browsers; current ones send the first.
        *(b"sec-purpose", b"purpose", b"x-moz", b"x-purpose"),
        *(b"moz-purpose", b"sec-fetch-purpose"),
        # Turbo, as scripts cannot set the first. Inertia and older Next.js send the
        # second.
        b"x-sec-purpose",
    }
)
"""Headers with the purpose of a request."""

_FLAGS = frozenset(
    {
        b"hx-preloaded",  # htmx's preload extension
        *(b"next-router-prefetch", b"x-middleware-prefetch"),  # Next.js
    }
)
"""Headers that only prefetches have."""

_TELLING = _PURPOSES | _FLAGS

_OFF = ("", "0", "false")

_AHEAD = re.compile(r"\b(?:prefetch|prerender|preview)\b")


def _word(value: bytes) -> str:
    return value.decode("latin-1").strip().lower()
