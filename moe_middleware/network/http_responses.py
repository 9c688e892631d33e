"""HTTP/1.1 responses, and what every reader of them refuses. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_BODY = 2 * 1024 * 1024
"""Bytes; no documented answer comes near this."""

MAX_PIECES = 4096
"""Pieces that a body may come in: each of them costs, however small it is."""

MAX_INTERIMS = 16
"""Interim responses, as 100 and 103, before the response itself."""

SLICE = 16 * 1024
"""Bytes that are read together, and the most that may pass without one of the body:
longer heads, chunk extensions and trailers are none of the API's."""

MAX_DIGITS = 20
"""Of a Content-Length."""

TOO_LARGE = (
    f"the answer is larger than {MAX_BODY} bytes, or in more than {MAX_PIECES} pieces"
)
NOT_HTTP = "the answer is not HTTP"
ENDLESS = "the answer never begins"


class BadResponseError(Exception):
    """What came is no HTTP response, or too much of one; the text quotes none of it."""


@dataclass(slots=True)
class Response:
    """A response, read to its end.

    Attributes:
        status: As in 200.
        headers: By names in lower case; those that came twice are joined by commas.
        body: As it came, not decoded.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class ResponseReader(Protocol):
    """Reads the responses of one connection, one after the other."""

    def begin(self) -> None:
        """Expect the response to a request that is sent now."""

    def feed(self, data: bytes) -> Response | None:
        """Return the response once it is whole.

        Raises:
            BadResponseError: It is refused; the connection is of no use any more.
        """

    def end(self) -> Response | None:
        """Note that the connection ended; return the response if that is its end."""

    @property
    def reusable(self) -> bool:
        """Whether the connection may serve another request."""


def framing_fault(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return why a head does not say clearly where its body ends; None where it does.

    Two readers might disagree about one that gives two lengths, or a length and chunks.

    Args:
        headers: As received.
    """
    framing = [
        (name.lower(), value.strip().lower())
        for name, value in headers
        if name.lower() in (b"content-length", b"transfer-encoding")
    ]
    if not framing:
        return None
    if len(framing) > 1:
        return NOT_HTTP
    [(name, value)] = framing
    if name == b"transfer-encoding":
        return None if value == b"chunked" else NOT_HTTP
    if not value.isdigit() or len(value) > MAX_DIGITS:
        return NOT_HTTP
    return TOO_LARGE if int(value) > MAX_BODY else None


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by names in lower case, those of one name joined by commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def encoding_of(headers: Mapping[str, str]) -> str:
    """Return how a body is packed, as in ``gzip``; empty where it is not."""
    encoding = headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding
