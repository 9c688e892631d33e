"""Reads a WSGI environ, in which bytes are Latin-1 text (PEP 3333)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ..models.texts import decoded

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def method_of(environ: WSGIEnvironment) -> str:
    """Return the method in upper case."""
    return str(environ.get("REQUEST_METHOD", "GET")).upper()


def path_of(environ: WSGIEnvironment) -> str:
    """Return the path as people write it: WSGI hands over bytes disguised as text."""
    return text_of(environ.get("PATH_INFO", "")) or "/"


def headers_of(environ: WSGIEnvironment) -> list[tuple[bytes, bytes]]:
    """Return the request's headers, names in lower case."""
    headers = [
        (
            _header_name(name),
            value.encode("latin-1", "replace") if type(value) is str else latin(value),
        )
        for name, value in environ.items()
        if name[:5] == "HTTP_"
    ]
    # These two have no HTTP_ (PEP 3333).
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if value := environ.get(name):
            headers.append((_header_name(name), latin(value)))
    return headers


@lru_cache(maxsize=256)
def _header_name(name: str) -> bytes:
    return latin(name.removeprefix("HTTP_").replace("_", "-").lower())


def text_of(value: object) -> str:
    """Return the text that a value's bytes are in UTF-8."""
    if type(value) is str and value.isascii():
        return value
    return decoded(latin(value))


def latin(value: object) -> bytes:
    """Return a value's bytes, as the server received them."""
    return str(value).encode("latin-1", "replace")


def read_body(environ: WSGIEnvironment, max_size: int) -> bytes:
    """Return a request's body, or the first ``max_size + 1`` bytes of a longer one."""
    try:
        # A negative size would read to the end, which not every server marks.
        size = max(0, int(environ.get("CONTENT_LENGTH") or 0))
    except ValueError:
        size = 0
    if not max_size:
        return b""
    body: bytes = environ["wsgi.input"].read(min(size, max_size + 1))
    return body
