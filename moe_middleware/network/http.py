"""A pool of HTTP/1.1 connections, for small JSON calls.

A response is read whole, up to a limit. httpx's pool checks all its connections at
every call, and its parser is in Python.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any
from weakref import WeakSet

import certifi

from ..concurrency.threads import in_thread
from .addresses import URL
from .connection import ClosedWhileIdleError, Connection
from .http_responses import Response, ResponseReader
from .sockets import Connector

MAX_CONNECTIONS = 64
"""The most concurrent calls; further ones wait for their turn."""

IDLE_FOR = 30.0
"""Seconds that an unused connection is kept."""

WARM_WITHIN = 5.0
"""Seconds that opening connections in advance may take."""

Headers = Sequence[tuple[bytes, bytes]]


class ConnectError(Exception):
    """No connection could be opened; the text is the name of the cause's type."""


class KeptConnections:
    """Sends requests to one origin; the connection used last is reused first.

    It serves one event loop. A cancelled call closes its connection, so a late response
    is never taken for another call's. If a kept connection turns out to be closed, the
    request is sent again on another one: every call of the API may be repeated. If a
    kept connection is silent until its call is cancelled, and none has received
    anything meanwhile, all unused connections are closed, as the server may be gone.

    It has no timeout: the caller cancels. The lookup of the name and the handshakes are
    part of the call, and a lookup that hangs delays no other work.

    Args:
        ssl_context: For https; None makes one at the first call, with certifi's
            certificates or those in SSL_CERT_FILE or SSL_CERT_DIR.
        max_connections: The most concurrent calls.
        idle_for: Seconds that an unused connection is kept.
        getaddrinfo: As ``socket.getaddrinfo``; it may block.
        reader: Returns a new reader of responses; None takes httptools if installed,
            else h11.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_for: float = IDLE_FOR,
        getaddrinfo: Callable[..., Iterable[Any]] = socket.getaddrinfo,
        reader: Callable[[], ResponseReader] | None = None,
    ) -> None:
        self._reader = reader or _quickest_reader()
        self._ssl_context = ssl_context
        self._making_context: asyncio.Future[ssl.SSLContext] | None = None
        self._getaddrinfo = getaddrinfo
        self._connector: Connector | None = None
        self._open: WeakSet[Connection] = WeakSet()
        self._idle: list[Connection] = []
        self._idle_for = idle_for
        self._max_connections = max_connections
        self._free = max_connections
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._answers = 0
        self._closed = False

    async def send(
        self, method: str, url: URL, headers: Headers, body: bytes
    ) -> Response:
        """Send a request and return its whole response.

        Args:
            method: In upper case.
            url: A URL of the origin.
            headers: All headers, including Host and Content-Length.
            body: The body.

        Raises:
            ConnectError: No connection could be opened.
            ReadError: The connection broke before the response was complete.
            BadResponseError: The response is no HTTP, or too large.
            ValueError: A header contains a line break.
        """
        request = _encoded(method, url.target, headers, body)
        await self._enter()
        try:
            while self._idle:
                # The one used last is the least likely to have been closed meanwhile.
                connection = self._idle.pop()
                try:
                    return await self._exchange(connection, request)
                except ClosedWhileIdleError:
                    # The server closed it before it received the request.
                    continue
            return await self._exchange(await self._connect(url), request)
        finally:
            self._leave()

    async def warm(self, url: URL, count: int) -> None:
        """Open connections in advance, until ``count`` are unused.

        Failures are ignored: the calls that need a connection report theirs.

        Args:
            url: A URL of the origin.
            count: The number of connections, ``max_connections`` at most.
        """
        missing = min(count, self._max_connections) - len(self._idle)
        await asyncio.gather(*(self._open_ahead(url) for _ in range(missing)))

    async def aclose(self) -> None:
        """Close unused connections now, and the others after their call."""
        self._closed = True
        self._close_idle()

    def abandon(self) -> None:
        """Close the sockets of connections after their event loop was closed."""
        for connection in list(self._open):
            connection.abandon()

    async def _exchange(self, connection: Connection, request: bytes) -> Response:
        answers = self._answers
        try:
            answer = await connection.exchange(request)
        except asyncio.CancelledError:
            connection.close()
            if connection.silent and answers == self._answers:
                # The server may be gone, and then all connections are dead.
                self._close_idle()
            raise
        except BaseException:
            connection.close()
            raise
        self._answers += 1
        self._keep(connection)
        return answer

    def _keep(self, connection: Connection) -> None:
        if connection.reusable and not self._closed:
            self._idle.append(connection)
            connection.rest(self._idle_for, self._idle)
        else:
            connection.close()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _open_ahead(self, url: URL) -> None:
        try:
            async with asyncio.timeout(WARM_WITHIN):
                connection = await self._connect(url)
        except (ConnectError, TimeoutError):
            return
        self._keep(connection)

    async def _connect(self, url: URL) -> Connection:
        loop = asyncio.get_running_loop()
        secure = url.scheme == "https"
        if self._connector is None:
            self._connector = Connector(
                url.host, url.port, getaddrinfo=self._getaddrinfo
            )
        try:
            context = await self._context() if secure else None
            connected = await self._connector.connect()
            # From here on asyncio closes the socket if cancelled.
            _, connection = await loop.create_connection(
                lambda: Connection(loop, connected, self._reader()),
                sock=connected,
                ssl=context,
                server_hostname=url.host if secure else None,
            )
        except OSError as error:
            raise ConnectError(type(error).__name__) from error
        self._open.add(connection)
        return connection

    async def _context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            if self._making_context is None:
                # Reading hundreds of certificates would block the event loop.
                self._making_context = in_thread(_tls_context, "moe-tls")
            making = self._making_context
            try:
                self._ssl_context = await asyncio.shield(making)
            finally:
                if making.done():
                    self._making_context = None
        return self._ssl_context

    async def _enter(self) -> None:
        """Wait for a turn, in the order of calls."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            # Its turn came in the same moment: the next one has it.
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            # A cancelled call has left its place in the line.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _encoded(method: str, target: bytes, headers: Headers, body: bytes) -> bytes:
    """Return the bytes of a request.

    Raises:
        ValueError: A header or the target contains a line break.
    """
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target)]
    lines += [b"%b: %b" % header for header in headers]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(headers) or head.count(b"\r") != len(headers):
        raise ValueError("a header holds a line break")
    return b"%b\r\n\r\n%b" % (head, body)


def _tls_context() -> ssl.SSLContext:
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or directory:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    return ssl.create_default_context(cafile=certifi.where())


@cache
def _quickest_reader() -> Callable[[], ResponseReader]:
    try:
        from .httptools_reader import HttptoolsReader
    except ImportError:
        from .h11_reader import H11Reader

        return H11Reader
    return HttptoolsReader
