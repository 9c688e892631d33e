"""Adds a preview's badge, or the overlay, to the end of an HTML page. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..models.texts import Headers
from ..models.visits import Visit

LOOKED_AT = 4096
"""Bytes at the start of a body that distinguish a whole page from a part of one."""

UNWANTED = frozenset(
    {b"accept-encoding", b"if-none-match", b"if-modified-since", b"range"}
)
"""Request headers that are removed: nothing can be added to a compressed, partial or
unmodified page."""

UNWANTED_META = tuple(
    f"HTTP_{one.decode().upper().replace('-', '_')}" for one in UNWANTED
)
"""The same headers by their names in WSGI and Django."""

_WHOLE = re.compile(rb"<(?:!doctype|html|head|body|title)\b", re.IGNORECASE)

_WIDE = re.compile(rb"charset\s*=\s*[\"']?(?:utf-?(?:16|32)|ucs-?[24])")

_PAGES = ("document", "iframe", "frame", "object", "embed")

_ASKED_BY_SCRIPTS = frozenset(
    {b"hx-request", b"turbo-frame", b"x-requested-with", b"x-pjax", b"x-up-version"}
)


class EndingWriter:
    """Watches the parts of one body, and returns what follows them.

    Args:
        make: Makes it, once the body has ended.
        is_wanted: Whether to add it always, not only to a whole page.
    """

    __slots__ = ("_begin", "_is_wanted", "_make")

    def __init__(self, make: Callable[[], bytes], *, is_wanted: bool) -> None:
        self._make: Callable[[], bytes] | None = make
        self._begin = b""
        self._is_wanted = is_wanted

    def look_at(self, part: bytes) -> None:
        """Read the next part of the body."""
        if len(self._begin) < LOOKED_AT:
            self._begin += part[: LOOKED_AT - len(self._begin)]

    def end(self) -> bytes:
        """Return the bytes to add after the body; once."""
        make, self._make = self._make, None
        wanted = self._is_wanted or _WHOLE.search(self._begin)
        return make() if make is not None and wanted else b""


def is_html(status: int, headers: Headers) -> bool:
    """Whether a response is a whole HTML page."""
    if status < 200 or status in (204, 205, 206) or 300 <= status < 400:
        return False
    return has_html(headers)


def has_html(headers: Headers) -> bool:
    """Whether a body is HTML to which ASCII can be added."""
    kinds = [value for name, value in headers if name.lower() == b"content-type"]
    kind = kinds[-1].lower().lstrip() if kinds else b""
    return kind.startswith(b"text/html") and not _WIDE.search(kind)


def is_encoded(headers: Headers) -> bool:
    """Whether a body is compressed, so that nothing can be added."""
    encodings = [v for name, v in headers if name.lower() == b"content-encoding"]
    return any(one.lower() != b"identity" for one in encodings)


def is_page_load(visit: Visit) -> bool:
    """Whether a browser navigates to a page, and no script requests a part of one."""
    destination = visit.header("sec-fetch-dest")
    if destination is not None:
        return destination in _PAGES
    return not visit.any_of(_ASKED_BY_SCRIPTS)


def without_length(headers: Headers) -> Headers:
    """Return headers without a length of the body."""
    return [one for one in headers if one[0].lower() != b"content-length"]


def wanted_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return a request's headers as the app receives them for such a page."""
    return [one for one in headers if one[0].lower() not in UNWANTED]
