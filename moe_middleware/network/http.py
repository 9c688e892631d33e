"""One HTTP/1.1 exchange after the other over kept connections.

It is for small JSON calls: a response is read whole and bounded. httpx's own pool looks
at every connection that it holds, at every call, and its parser is in Python.
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
"""Calls under way at once; further ones wait for their turn."""

IDLE_FOR = 30.0
"""How long an unused connection is kept, in seconds."""

WARM_WITHIN = 5.0
"""How long it may take to open connections ahead of need, in seconds."""

Headers = Sequence[tuple[bytes, bytes]]


class ConnectError(Exception):
    """No connection could be made; the text is the cause's type."""


class KeptConnections:
    """Sends requests to one origin, and reuses its connections, last one first.

    It serves one event loop. A call that is cancelled closes its connection, so an
    answer that comes late can never be taken for another call's. Where a kept
    connection turns out to be closed, the request is sent again on another: every call
    of the API may be repeated. Where one is silent until its call is cancelled, and no
    other has spoken meanwhile, the unused ones are taken for dead and closed, too.

    It has no timeout of its own: the caller cancels. The name's lookup and the
    handshakes happen within that time, and a lookup that hangs holds up nothing else.

    Args:
        ssl_context: For https; None makes one at the first need, of certifi's
            certificates or those that SSL_CERT_FILE or SSL_CERT_DIR name.
        max_connections: Calls under way at once.
        idle_for: How long an unused connection is kept, in seconds.
        getaddrinfo: Looks a name up, as the socket module's does; it may block.
        reader: Makes what reads one connection's responses; None takes httptools
            where it is installed, else h11.
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
        """Send a request and return its response, read to the end.

        Args:
            method: In upper case.
            url: An address of the origin.
            headers: All of them, Host and Content-Length too.
            body: What Content-Length tells of.

        Raises:
            ConnectError: No connection could be made.
            ReadError: The connection broke before the response was complete.
            BadResponseError: What came is not HTTP, or too much of it.
            ValueError: A header would break out of its line.
        """
        request = _encoded(method, url.target, headers, body)
        await self._enter()
        try:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return await self._exchange(connection, request)
                except ClosedWhileIdleError:
                    # The server hung up just as we spoke; it has seen nothing.
                    continue
            return await self._exchange(await self._connect(url), request)
        finally:
            self._leave()

    async def warm(self, url: URL, count: int) -> None:
        """Open connections before a call needs them, until so many are unused.

        A failure is not reported: the calls that need a connection report theirs.

        Args:
            url: Any address of the origin.
            count: How many; ``max_connections`` is the most.
        """
        missing = min(count, self._max_connections) - len(self._idle)
        await asyncio.gather(*(self._open_ahead(url) for _ in range(missing)))

    async def aclose(self) -> None:
        """Close the connections: the unused ones now, the others after their call."""
        self._closed = True
        self._close_idle()

    def abandon(self) -> None:
        """Free the sockets of connections whose event loop was closed under them."""
        for connection in list(self._open):
            connection.abandon()

    async def _exchange(self, connection: Connection, request: bytes) -> Response:
        answers = self._answers
        try:
            answer = await connection.exchange(request)
        except asyncio.CancelledError:
            connection.close()
            if connection.silent and answers == self._answers:
                # The server may be gone without a word, and would be for them all.
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
            # asyncio owns the socket from here on, and closes it when cancelled.
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
                # It reads hundreds of certificates: not on the event loop.
                self._making_context = in_thread(_tls_context, "moe-tls")
            making = self._making_context
            try:
                self._ssl_context = await asyncio.shield(making)
            finally:
                if making.done():
                    self._making_context = None
        return self._ssl_context

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


def _encoded(method: str, target: bytes, headers: Headers, body: bytes) -> bytes:
    """Return a request as it is sent.

    Raises:
        ValueError: A header, or the target, would break out of its line.
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
