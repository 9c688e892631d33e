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

_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""The byte order marks of encodings to which no ASCII can be added."""

OF_THE_BODY = frozenset(
    {
        *(b"content-length", b"etag", b"last-modified", b"accept-ranges"),
        *(b"content-md5", b"digest", b"content-digest", b"repr-digest"),
    }
)
"""Response headers that describe a body, and do not hold for a longer one."""

_WIDE = re.compile(rb"charset\s*=\s*[\"']?(?:utf-?(?:16|32)|ucs-?[24])")

_PAGES = ("document", "iframe", "frame", "object", "embed")

_HEADERS_OF_SCRIPTS = frozenset(
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
        # The rest of a large page is not kept.
        if len(self._begin) < LOOKED_AT:
            self._begin += part[: LOOKED_AT - len(self._begin)]

    def end(self) -> bytes:
        """Return the bytes to add after the body; once."""
        make, self._make = self._make, None
        wanted = self._is_wanted or _WHOLE.search(self._begin)
        if make is None or not wanted or self._begin.startswith(_WIDE_MARKS):
            return b""
        return make()


def is_html(status: int, headers: Headers) -> bool:
    """Whether a response is a whole HTML page."""
    if status < 200 or status in (204, 205, 206) or 300 <= status < 400:
        return False
    return has_html(headers)


def has_html(headers: Headers) -> bool:
    """Whether a body is HTML that is shown, and to which ASCII can be added."""
    given = {name.lower(): value.lower().lstrip() for name, value in headers}
    kind = given.get(b"content-type", b"")
    saved = given.get(b"content-disposition", b"").startswith(b"attachment")
    return kind.startswith(b"text/html") and not _WIDE.search(kind) and not saved


def is_encoded(headers: Headers) -> bool:
    """Whether a body is compressed, so that nothing can be added."""
    encodings = [v for name, v in headers if name.lower() == b"content-encoding"]
    return any(one.lower() != b"identity" for one in encodings)


def is_page_load(visit: Visit) -> bool:
    """Whether a browser navigates to a page, and no script requests a part of one."""
    # Browsers say it themselves; before they did, scripts had headers of their own.
    destination = visit.header("sec-fetch-dest")
    if destination is not None:
        return destination in _PAGES
    return _HEADERS_OF_SCRIPTS.isdisjoint(visit.first_headers)


def for_longer_body(headers: Headers) -> Headers:
    """Return headers without the length, validators and digests of the app's body.

    A cache or a middleware outside of ours would take them for those of the body that
    is sent, and answer 304 for the page without its end.
    """
    return [one for one in headers if one[0].lower() not in OF_THE_BODY]


def wanted_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return a request's headers as the app receives them for such a page."""
    return [one for one in headers if one[0].lower() not in UNWANTED]
