"""The paths that we answer by ourselves, below ``clicks.path``, at every door alike."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..models.texts import Headers
from ..models.visits import Visit

logger = logging.getLogger(__name__)


PLAIN_TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8")]

NEVER_KEPT: Headers = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"x-robots-tag", b"noindex, nofollow"),
]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case, the Content-Length among them.
        body: All of it.
    """

    status: int
    headers: Headers
    body: bytes = b""


Handler = Callable[[Visit, str, bytes], Awaitable[Reply]]
"""Answers a request; it gets what follows its own name in the path, and the body."""


@dataclass(frozen=True, slots=True)
class OwnPath:
    """One of them.

    Attributes:
        methods: The HTTP methods that it knows.
        handler: Answers a request.
        max_body: How much of a body it takes, in bytes; more is refused.
    """

    methods: tuple[str, ...]
    handler: Handler
    max_body: int = 0


class OwnPaths:
    """Finds who answers a request of ours.

    Args:
        prefix: As in ``/_moe``.
        paths: By the segment that follows it, as in ``{"c": ...}``.
    """

    def __init__(self, prefix: str, paths: Mapping[str, OwnPath]) -> None:
        self.prefix = f"{prefix}/"
        self._paths = dict(paths)

    def answers(self, path: str) -> bool:
        """Whether a path within the wrapped app is one of ours."""
        return path.startswith(self.prefix) and self._find(path)[0] is not None

    def max_body(self, path: str) -> int:
        """Return how much of a request's body is to be read, in bytes."""
        found, _ = self._find(path)
        return found.max_body if found is not None else 0

    async def reply(self, visit: Visit, body: bytes = b"") -> Reply:
        """Answer a request for a path that ``answers`` knows; never raises.

        Args:
            visit: The request.
            body: Its body; one byte more than ``max_body`` stands for too much.
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
            # The error's text may hold an id; its class does not.
            logger.error("own_path_failed error=%s", type(error).__name__)
            logger.debug("own_path_failed", exc_info=error)
            return refused(500, "something went wrong")

    def _find(self, path: str) -> tuple[OwnPath | None, str]:
        name, _, rest = path[len(self.prefix) :].partition("/")
        return self._paths.get(name), rest


def asset_handler(content: bytes, kind: bytes) -> Handler:
    """Return what answers with a file, for ever the same below its name.

    Args:
        content: All of it, in UTF-8.
        kind: As in ``text/css``.
    """
    headers = [
        (b"content-type", kind + b"; charset=utf-8"),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
    ]

    async def answer(visit: Visit, rest: str, body: bytes) -> Reply:
        return Reply(200, [*headers], content if visit.method == "GET" else b"")

    return answer


def is_own_site(visit: Visit) -> bool:
    """Whether a page of the same origin sent a request, by what its browser says.

    Where the browser does not say it outright, the origin has to be the host.
    """
    if (site := visit.header("sec-fetch-site")) is not None:
        return site == "same-origin"
    host, origin = visit.header("host"), visit.header("origin")
    try:
        return bool(host) and urlsplit(origin or "").netloc == host
    except ValueError:
        return False


def refused(status: int, said: str, *, allow: tuple[str, ...] = ()) -> Reply:
    """Return a refusal in plain text, which nobody keeps."""
    body = said.encode()
    headers = [
        *PLAIN_TEXT,
        (b"content-length", str(len(body)).encode()),
        *NEVER_KEPT,
    ]
    if allow:
        headers.append((b"allow", ", ".join(allow).encode()))
    return Reply(status, headers, body)
