"""Reads responses with httptools, uvicorn's parser in C."""

from __future__ import annotations

import re

import httptools

from .http_responses import (
    ENDLESS,
    MAX_BODY,
    MAX_INTERIMS,
    MAX_PIECES,
    NOT_HTTP,
    SLICE,
    TOO_LARGE,
    BadResponseError,
    Response,
    framing_fault,
    joined,
)

_VERSIONS = ("1.1", "1.0")

if [int(part) for part in re.findall(r"\d+", httptools.__version__)[:3]] < [0, 6, 3]:
    raise ImportError("httptools is too old: it takes responses that are badly framed")


class HttptoolsReader:
    """See ``ResponseReader``.

    httptools calls the ``on_`` methods during ``feed_data``. They store a fault in
    ``_refused``, as httptools would wrap an exception of theirs.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.reusable = True
        self.begin()

    def begin(self) -> None:
        self._interims = 0
        self._began = False
        self._whole = False
        self._refused: str | None = None
        # Bytes since the last one of the body.
        self._without_body = 0
        self._on_message()

    def _on_message(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_body = False
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Response | None:
        if not self._began:
            # The parser also accepts RTSP, ICE and leading blank lines.
            if data[:1] != b"H":
                raise BadResponseError(NOT_HTTP)
            self._began = True
        if len(data) <= SLICE:
            self._feed(data)
        else:
            view = memoryview(data)
            for at in range(0, len(data), SLICE):
                if self._whole:
                    # Bytes after the response belong to no request.
                    self.reusable = False
                    break
                self._feed(view[at : at + SLICE])
        return self._response() if self._whole else None

    def _feed(self, data: bytes | memoryview) -> None:
        self._without_body += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                raise BadResponseError(self._refused or NOT_HTTP) from error
            self.reusable = False
        if self._refused is not None:
            raise BadResponseError(self._refused)
        if self._without_body > SLICE and not self._whole:
            raise BadResponseError(NOT_HTTP)

    def end(self) -> Response | None:
        self.reusable = False
        if not self._in_body or self._whole or self._is_framed():
            return None
        return self._response()

    def _is_framed(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return not names.isdisjoint((b"content-length", b"transfer-encoding"))

    def _response(self) -> Response:
        parts, self._parts = self._parts, []
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return Response(self._status, joined(self._headers), body)

    # --- callbacks of httptools ---------------------------------------------------

    def on_message_begin(self) -> None:
        if self._whole:
            # Bytes after the response would be read as the next one.
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body and not self._whole:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._whole:
            return
        self._in_body = True
        self._status = self._parser.get_status_code()
        if self._status == 101 or self._parser.get_http_version() not in _VERSIONS:
            self._refused = NOT_HTTP
        else:
            self._refused = framing_fault(self._headers)

    def on_body(self, body: bytes) -> None:
        if self._whole:
            return
        self._without_body = 0
        self._size += len(body)
        self._parts.append(body)
        if self._size > MAX_BODY or len(self._parts) > MAX_PIECES:
            self._refused = TOO_LARGE

    def on_message_complete(self) -> None:
        if self._whole:
            return
        if 100 <= self._status < 200:
            self._interims += 1
            if self._interims > MAX_INTERIMS:
                self._refused = ENDLESS
            self._on_message()
            return
        self._whole = True
        if not self._parser.should_keep_alive():
            self.reusable = False
