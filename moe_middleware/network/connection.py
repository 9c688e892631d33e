"""One HTTP/1.1 connection."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from .http_responses import BadResponseError, Response, ResponseReader


class ReadError(Exception):
    """A connection broke before the response was complete."""


class ClosedWhileIdleError(Exception):
    """A kept connection was closed before the response's first byte."""


class Connection(asyncio.Protocol):
    """One connection, with one exchange at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connected: socket.socket,
        reader: ResponseReader,
    ) -> None:
        self._loop = loop
        self._socket = connected
        self._reader = reader
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._open = True
        self._kept = False
        self._answered = False

    @property
    def reusable(self) -> bool:
        """Whether it can be used again."""
        return self._open and self._reader.reusable

    @property
    def silent(self) -> bool:
        """Whether it was kept, and no byte of the current response has arrived."""
        return self._kept and not self._answered

    async def exchange(self, request: bytes) -> Response:
        """Send a request and wait for its response."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if not self._open:
            raise ClosedWhileIdleError
        assert self._transport is not None
        self._answered = False
        self._reader.begin()
        self._answer = self._loop.create_future()
        self._transport.write(request)
        return await self._answer

    def rest(self, seconds: float, idle: list[Connection]) -> None:
        """Close it, and remove it from ``idle``, when unused for so many seconds."""
        self._kept = True

        def expire() -> None:
            if self in idle:
                idle.remove(self)
            self.close()

        self._idle_timer = self._loop.call_later(seconds, expire)

    def close(self) -> None:
        """Close the connection; discard any response in flight."""
        self._open = False
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._transport is not None:
            # ``close`` would wait until a peer that may be gone has read what was sent.
            self._transport.abort()

    def abandon(self) -> None:
        """Close the socket itself, as the event loop is closed."""
        self._socket.close()

    # --- callbacks of asyncio ----------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._answered = True
        if self._answer is None or self._answer.done():
            # There is no request, as with a 408 for an idle connection.
            self.close()
        else:
            self._receive(data)

    def eof_received(self) -> None:
        self._open = False
        if response := self._reader.end():
            self._settle(response)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._fail(
            ClosedWhileIdleError()
            if self._kept and not self._answered
            else ReadError("the connection broke")
        )

    def _receive(self, data: bytes) -> None:
        try:
            response = self._reader.feed(data)
        except BadResponseError as error:
            self._fail(error)
            self.close()
        else:
            if response is not None:
                self._settle(response)

    def _settle(self, response: Response) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
