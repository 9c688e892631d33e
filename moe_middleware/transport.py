"""One HTTP/1.1 exchange after the other over kept connections.

It is an httpx transport for small JSON calls: the answer is read whole and bounded.
httpx's own pool looks at every connection that it holds, at every call.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from typing import cast

import h11
import httpx

MAX_CONNECTIONS = 64
"""Calls under way at once; further ones wait for their turn."""

IDLE_FOR = 30.0
"""How long an unused connection is kept, in seconds."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""No documented answer comes near this; one beyond it is not read to its end."""


class KeptConnections(httpx.AsyncBaseTransport):
    """An httpx transport to one origin that reuses its connections, last one first.

    It serves one event loop. A call that is cancelled closes its connection, so an
    answer that comes late can never be taken for another call's. Where a kept
    connection turns out to be closed, the request is sent again on another: every call
    of the API may be repeated.

    Args:
        ssl_context: For https; None makes httpx's default at the first need.
        max_connections: Calls under way at once.
        idle_for: How long an unused connection is kept, in seconds.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_for: float = IDLE_FOR,
    ) -> None:
        self._ssl_context = ssl_context
        self._idle: list[_Connection] = []
        self._idle_for = idle_for
        self._free = max_connections
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, read to the end.

        Raises:
            httpx.ConnectError: No connection could be made.
            httpx.ReadError: The connection broke before the answer was complete.
            httpx.DecodingError: What came is not HTTP, or too much of it.
        """
        await self._enter()
        try:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return await self._exchange(connection, request)
                except _ClosedWhileIdle:
                    # The server hung up just as we spoke; it has seen nothing.
                    continue
            return await self._exchange(await self._connect(request.url), request)
        finally:
            self._leave()

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _exchange(
        self, connection: _Connection, request: httpx.Request
    ) -> httpx.Response:
        try:
            answer = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._idle.append(connection)
            connection.rest(self._idle_for, self._idle)
        else:
            connection.close()
        return answer

    async def _connect(self, url: httpx.URL) -> _Connection:
        secure = url.scheme == "https"
        if secure and self._ssl_context is None:
            # It reads hundreds of certificates: not on the event loop.
            self._ssl_context = await asyncio.to_thread(httpx.create_ssl_context)
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(loop),
                url.host,
                url.port or (443 if secure else 80),
                ssl=self._ssl_context if secure else None,
            )
        except OSError as error:
            raise httpx.ConnectError(type(error).__name__) from error
        return connection

    async def _enter(self) -> None:
        """Wait for a turn: first come, first served."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class _ClosedWhileIdle(Exception):
    """A kept connection was closed before a byte of the answer came."""


class _Connection(asyncio.Protocol):
    """One connection, and the exchange under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._http = h11.Connection(h11.CLIENT)
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[httpx.Response] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._open = True
        self._used = False
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._parts: list[bytes | bytearray] = []
        self._size = 0

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow."""
        return self._open and self._http.our_state is h11.IDLE

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for its answer."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if not self._open:
            raise _ClosedWhileIdle
        assert self._transport is not None
        self._begin()
        self._answer = self._loop.create_future()
        self._transport.write(self._encoded(request))
        return await self._answer

    def _encoded(self, request: httpx.Request) -> bytes:
        http, body = self._http, _body_of(request)
        head = http.send(
            h11.Request(
                method=request.method,
                target=request.url.raw_path,
                headers=request.headers.raw,
            )
        )
        parts = [head, http.send(h11.Data(body)) if body else b""]
        parts.append(http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    def rest(self, seconds: float, idle: list[_Connection]) -> None:
        """Be closed, and taken out of ``idle``, when not used for so long."""

        def expire() -> None:
            if self in idle:
                idle.remove(self)
            self.close()

        self._idle_timer = self._loop.call_later(seconds, expire)

    def close(self) -> None:
        """Close it at once; what is on its way is nobody's."""
        self._open = False
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # --- what asyncio calls ------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only look like asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def eof_received(self) -> None:
        self._open = False
        self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        began = self._status or self._parts
        fresh = not self._used
        self._fail(
            httpx.ReadError("the connection broke")
            if began or fresh
            else _ClosedWhileIdle()
        )

    def _receive(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            self._read_events()
        except h11.RemoteProtocolError as error:
            if data or self._status:
                self._fail(httpx.DecodingError(f"not HTTP: {error}"))
            self.close()

    def _read_events(self) -> None:
        while True:
            match self._http.next_event():
                case h11.Response() as head:
                    self._status = head.status_code
                    self._headers = head.headers.raw_items()
                case h11.Data(data=data):
                    self._size += len(data)
                    if self._size > MAX_ANSWER_BYTES:
                        self._fail(httpx.DecodingError("the answer is too large"))
                        self.close()
                        return
                    self._parts.append(data)
                case h11.EndOfMessage():
                    self._finish()
                    return
                case h11.InformationalResponse():
                    pass
                case _:
                    return

    def _finish(self) -> None:
        self._used = True
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(
                httpx.Response(
                    self._status,
                    headers=list(self._headers),
                    stream=httpx.ByteStream(b"".join(self._parts)),
                )
            )

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _body_of(request: httpx.Request) -> bytes:
    assert isinstance(request.stream, httpx.SyncByteStream)
    return b"".join(request.stream)
