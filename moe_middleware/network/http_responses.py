"""HTTP/1.1 responses, and the limits that every reader enforces. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_BODY = 2 * 1024 * 1024
"""Bytes; all documented responses are much smaller."""

MAX_PIECES = 4096
"""The most pieces of a body: each costs time, however small it is."""

MAX_INTERIMS = 16
"""The most interim responses, as 100 and 103, before the response itself."""

SLICE = 16 * 1024
"""Bytes that are parsed at once, and the most bytes of a head, of chunk extensions and
of trailers; the API's are shorter."""

MAX_DIGITS = 20
"""The most digits of a Content-Length."""

TOO_LARGE = (
    f"the answer is larger than {MAX_BODY} bytes, or in more than {MAX_PIECES} pieces"
)
NOT_HTTP = "the answer is not HTTP"
ENDLESS = "the answer never begins"


class BadResponseError(Exception):
    """A response is no HTTP, or too large; the text quotes nothing of it."""


@dataclass(slots=True)
class Response:
    """A response, read to its end.

    Attributes:
        status: The status code.
        headers: By names in lower case; repeated ones are joined by commas.
        body: The body, not decompressed.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class ResponseReader(Protocol):
    """Reads the responses of one connection, one after the other."""

    def begin(self) -> None:
        """Expect the response to a new request."""

    def feed(self, data: bytes) -> Response | None:
        """Parse bytes; return the response when it is complete.

        Raises:
            BadResponseError: It is refused; the connection cannot be used again.
        """

    def end(self) -> Response | None:
        """Note the end of the connection; return the response if it ends there."""

    @property
    def reusable(self) -> bool:
        """Whether the connection can be used for another request."""


def framing_fault(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the fault if a head does not determine the end of its body; else None.

    Parsers disagree about a head with two lengths, or with a length and chunks.

    Args:
        headers: The received headers.
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
    """Return a body's compression, as in ``gzip``; empty without one."""
    encoding = headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding
