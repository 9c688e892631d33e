"""The last calls of the API with their responses, for people."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

KEPT = 500
"""The number of calls that are kept, the latest ones."""

MAX_KEPT = 64 * 1024
"""Bytes of a body that are kept: enough for a report of 100 events."""

MAX_SHOWN = 4096
"""Bytes of a body that are shown."""

_SECRET = {"authorization", "proxy-authorization", "cookie"}


class Exchange(NamedTuple):
    """One call and its response. A tuple, as each call of the API makes one.

    Attributes:
        number: Counts the calls; newer ones are larger.
        at: The time of the call, in unix seconds.
        raw_path: The path as in ASGI; to show it, use ``path``.
        raw_query: The query string as in ASGI.
        raw_headers: The headers as in ASGI, with credentials; to show them, use
            ``headers``.
        status: The response's status; None if the connection was cut.
        seconds: Seconds until the response began.
        request_body: The beginning of the request's body.
        request_size: Its size in bytes; None if it is too large.
        fault: The fault applied to it, in words; empty for none.
    """

    number: int
    at: float
    endpoint: str
    method: str
    raw_path: str
    raw_query: bytes
    raw_headers: Sequence[tuple[bytes, bytes]]
    status: int | None
    seconds: float
    request_body: bytes
    request_size: int | None
    response_body: bytes
    response_size: int
    fault: str

    @property
    def path(self) -> str:
        """The path, with its query if there is one."""
        query = self.raw_query.decode("latin-1")
        return f"{self.raw_path}?{query}" if query else self.raw_path

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The request's headers, credentials masked."""
        pairs = [
            (k.decode("latin-1"), v.decode("latin-1")) for k, v in self.raw_headers
        ]
        return [(k, _masked(v) if k.lower() in _SECRET else v) for k, v in pairs]

    def as_document(self) -> dict[str, Any]:
        """Return it as JSON values, without secrets."""
        return {
            "number": self.number,
            "at": self.at,
            "endpoint": self.endpoint,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "seconds": round(self.seconds, 6),
            "headers": dict(self.headers),
            "request_body": self.request_body[:MAX_SHOWN].decode(errors="replace"),
            "request_size": self.request_size,
            "response_body": self.response_body[:MAX_SHOWN].decode(errors="replace"),
            "response_size": self.response_size,
            "fault": self.fault,
        }


class RequestLog:
    """Keeps the last calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._kept: deque[Exchange] = deque(maxlen=KEPT)

    def add(self, exchange: Exchange) -> None:
        """Add a call, whose number is given here."""
        with self._lock:
            self._kept.append(exchange._replace(number=next(self._numbers)))

    def latest(self, limit: int = KEPT, endpoint: str | None = None) -> list[Exchange]:
        """Return the last calls, newest first, of one endpoint or of all."""
        with self._lock:
            kept = list(self._kept)
        wanted = [one for one in kept if endpoint in (None, one.endpoint)]
        return wanted[::-1][:limit]

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._kept.clear()


def _masked(value: str) -> str:
    # The scheme stays: a wrong one is a common mistake.
    scheme, found, _ = value.strip().partition(" ")
    return f"{scheme} ***" if found and scheme.isalpha() else "***"
