"""Our own endpoints below ``clicks.path``, the same at every door."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ..models.texts import Headers
from ..models.visits import Visit
from ..visitors.ids import visitor_cookie
from ..visitors.visitors import Visitors

logger = logging.getLogger(__name__)


PLAIN_TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8")]

NEVER_KEPT: Headers = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"x-robots-tag", b"noindex, nofollow"),
]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response.

    Attributes:
        status: The HTTP status.
        headers: With names in lower case, including Content-Length.
        body: The whole body.
    """

    status: int
    headers: Headers
    body: bytes = b""


Handler = Callable[[Visit, str, bytes], Awaitable[Reply]]
"""Handles a request, given the rest of its path and its body."""


@dataclass(frozen=True, slots=True)
class OwnPath:
    """One endpoint.

    Attributes:
        methods: The HTTP methods that it supports.
        handler: Handles a request.
        max_body: The largest body, in bytes.
    """

    methods: tuple[str, ...]
    handler: Handler
    max_body: int = 0


class OwnPaths:
    """Dispatches requests to our endpoints.

    Args:
        prefix: The value of ``clicks.path``, as in ``/_moe``.
        paths: The endpoints by the segment after the prefix, as in ``{"c": ...}``.

    Attributes:
        prefix: The prefix, with a slash at its end.
        names: The segments after it.
    """

    def __init__(self, prefix: str, paths: Mapping[str, OwnPath]) -> None:
        self.prefix = f"{prefix}/"
        self._paths = dict(paths)
        self.names = frozenset(paths)

    def answers(self, path: str) -> bool:
        """Whether a path within the wrapped app belongs to an endpoint."""
        return path.startswith(self.prefix) and self._find(path)[0] is not None

    def max_body(self, path: str) -> int:
        """Return the bytes of a request's body that may be read."""
        found, _ = self._find(path)
        return found.max_body if found is not None else 0

    async def reply(self, visit: Visit, body: bytes = b"") -> Reply:
        """Handle a request for a path that ``answers`` accepts; never raises.

        Args:
            visit: The request.
            body: Its body; one byte more than ``max_body`` means that it is too large.
        """
        found, rest = self._find(visit.path)
        if found is None:
            return refused(404, "not found")
        if visit.method not in found.methods:
            return refused(405, "not with this method", allow=found.methods)
        if len(body) > found.max_body:
            return refused(413, "too much")
        try:
            return await found.handler(visit, rest, body)
        except Exception as error:
            # The error's text may contain an id; its class cannot.
            logger.error("own_path_failed error=%s", type(error).__name__)
            logger.debug("own_path_failed", exc_info=error)
            return refused(500, "something went wrong")

    def _find(self, path: str) -> tuple[OwnPath | None, str]:
        name, _, rest = path[len(self.prefix) :].partition("/")
        return self._paths.get(name), rest


def asset_handler(content: bytes, kind: bytes, cache: bytes = b"public") -> Handler:
    """Return an endpoint for a file whose content never changes.

    Args:
        content: The content, in UTF-8.
        kind: The media type, as in ``text/css``.
        cache: The caches that may keep it.
    """
    headers = [
        (b"content-type", kind + b"; charset=utf-8"),
        (b"content-length", str(len(content)).encode()),
        # Its name changes with its content.
        (b"cache-control", cache + b", max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
    ]

    async def answer(visit: Visit, rest: str, body: bytes) -> Reply:
        return Reply(200, [*headers], content if visit.method == "GET" else b"")

    return answer


def is_own_site(visit: Visit) -> bool:
    """Whether a page of the same origin sent a request, by its browser's headers."""
    if (site := visit.header("sec-fetch-site")) is not None:
        return site == "same-origin"
    # Older browsers, and all without TLS, send no Sec-Fetch-Site.
    host, origin = visit.header("host"), visit.header("origin")
    try:
        return bool(host) and urlsplit(origin or "").netloc == host
    except ValueError:
        return False


def redirect(target: str, more: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    """Return a redirect that must not be cached, with ``more`` headers."""
    # Characters beyond ASCII are percent-encoded; existing escapes stay.
    location = quote(target, safe="/?#[]@!$&'()*+,;=:%~").encode()
    headers = [(b"location", location), (b"content-length", b"0")]
    return Reply(302, [*headers, *NEVER_KEPT, *more])


def set_cookie(
    visitors: Visitors, visit: Visit, name: str, value: str, max_age: int
) -> Headers:
    """Return the header that sets a cookie for the browser of a request."""
    secure = visitors.is_https(visit)
    cookie = visitor_cookie(name, value, max_age=max_age, secure=secure)
    return [(b"set-cookie", cookie.encode())]


def refused(status: int, text: str, *, allow: tuple[str, ...] = ()) -> Reply:
    """Return a refusal in plain text that must not be cached."""
    body = text.encode()
    headers = [
        *PLAIN_TEXT,
        (b"content-length", str(len(body)).encode()),
        *NEVER_KEPT,
    ]
    if allow:
        headers.append((b"allow", ", ".join(allow).encode()))
    return Reply(status, headers, body)
