"""Reads responses with h11, which is in Python, if httptools is not installed."""

from __future__ import annotations

import h11

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


class H11Reader:
    """See ``ResponseReader``."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=SLICE)
        self._ended = False

    @property
    def reusable(self) -> bool:
        http = self._http
        # Bytes after the response would be read as the next one.
        idle = http.our_state is h11.IDLE and not http.trailing_data[0]
        return idle and not self._ended

    def begin(self) -> None:
        self._interims = 0
        self._head: h11.Response | None = None
        self._parts: list[bytes] = []
        self._size = 0
        # h11 reads a response only after a request.
        self._http.send(_REQUEST)
        self._http.send(h11.EndOfMessage())

    def feed(self, data: bytes) -> Response | None:
        response = None
        for at in range(0, len(data), SLICE):
            if response is not None:
                # Bytes after the response belong to no request.
                self._ended = True
                break
            response = self._feed(data[at : at + SLICE])
        return response

    def _feed(self, data: bytes) -> Response | None:
        try:
            self._http.receive_data(data)
            return self._read()
        except (h11.RemoteProtocolError, ValueError) as error:
            raise BadResponseError(NOT_HTTP) from error

    def end(self) -> Response | None:
        self._ended = True
        try:
            return self._feed(b"")
        except BadResponseError:
            return None

    def _read(self) -> Response | None:
        while True:
            match self._http.next_event():
                case h11.Response() as head:
                    self._head = head
                    # h11 accepts HTTP/2.0 and HTTP/0.9, too.
                    if head.http_version not in (b"1.1", b"1.0"):
                        raise BadResponseError(NOT_HTTP)
                    if fault := framing_fault(head.headers.raw_items()):
                        raise BadResponseError(fault)
                case h11.Data(data=data):
                    self._size += len(data)
                    self._parts.append(bytes(data))
                    if self._size > MAX_BODY or len(self._parts) > MAX_PIECES:
                        raise BadResponseError(TOO_LARGE)
                case h11.EndOfMessage():
                    return self._response()
                case h11.InformationalResponse():
                    self._interims += 1
                    if self._interims > MAX_INTERIMS:
                        raise BadResponseError(ENDLESS)
                case _:
                    return None

    def _response(self) -> Response:
        assert self._head is not None
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        head = self._head
        parts, self._parts = self._parts, []
        headers = joined(head.headers.raw_items())
        return Response(head.status_code, headers, b"".join(parts))


_REQUEST = h11.Request(method="POST", target="/", headers=[("host", "x")])
