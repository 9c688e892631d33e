"""Connects sockets to a host by its name, without blocking the event loop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiohappyeyeballs import AddrInfoType, start_connection

from ..concurrency.threads import in_thread

FRESH_FOR = 30.0
"""Seconds that a name's addresses are used without another lookup."""

USABLE_FOR = 600.0
"""Seconds that they are used while another lookup is running."""

LOOK_AGAIN_AFTER = 1.0
"""Seconds after which another lookup is started beside a running one: a name server
that is back answers a new query at once, and the old one seconds later."""

MAX_LOOKUPS = 4
"""The most concurrent lookups of one name; each is a thread."""

HEAD_START = 0.1
"""Seconds that an address is tried before the next one is tried, too. It is less than
RFC 8305's 0.25, as a page has 0.3 seconds in all."""

KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
"""Seconds until the kernel probes an unused connection, seconds between two probes, and
the number of unanswered probes that end it."""

Address = AddrInfoType
"""An item of the result of ``socket.getaddrinfo``."""


class Connector:
    """Connects to one host, on one event loop.

    The host's addresses are kept, and looked up again in the background. If no address
    could be reached in time, the next call waits for a new lookup.

    Args:
        host: A name or an IP address.
        port: The port.
        getaddrinfo: As ``socket.getaddrinfo``; it may block.
        fresh_for: See ``FRESH_FOR``.
        look_again_after: See ``LOOK_AGAIN_AFTER``.
        head_start: See ``HEAD_START``.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        getaddrinfo: Callable[..., Iterable[Any]] = socket.getaddrinfo,
        fresh_for: float = FRESH_FOR,
        look_again_after: float = LOOK_AGAIN_AFTER,
        head_start: float = HEAD_START,
    ) -> None:
        self._host = host
        self._port = port
        self._getaddrinfo = getaddrinfo
        self._fresh_for = fresh_for
        self._look_again_after = look_again_after
        self._head_start = head_start
        self._literal = _literal(host, port)
        self._found: list[Address] = []
        self._found_at = 0.0
        self._last_family: socket.AddressFamily | None = None
        self._lookups: set[asyncio.Future[list[Address]]] = set()
        self._looked_up_at = 0.0

    async def connect(self) -> socket.socket:
        """Return a connected, non-blocking socket.

        Raises:
            OSError: The name is unknown, or none of its addresses can be reached.
        """
        # The family that worked last is tried first.
        addresses = sorted(
            await self._addresses(), key=lambda one: one[0] != self._last_family
        )
        try:
            connected = await self._connected_to_any(addresses)
        except BaseException:
            self._found = []
            raise
        self._last_family = connected.family
        return connected

    async def _connected_to_any(self, addresses: Sequence[Address]) -> socket.socket:
        if not addresses:
            raise OSError("the host has no address")
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        connected = await start_connection(
            addresses,
            happy_eyeballs_delay=self._head_start,
            socket_factory=_socket,
        )
        # It swallows a cancellation while it closes the other sockets.
        if task is not None and task.cancelling() > cancelled:
            connected.close()
            raise asyncio.CancelledError
        return connected

    async def _addresses(self) -> Sequence[Address]:
        if self._literal:
            return self._literal
        age = asyncio.get_running_loop().time() - self._found_at
        if not self._found or age >= self._fresh_for:
            self._look_up()
        if not self._found or age > USABLE_FOR:
            done, _ = await asyncio.wait(
                self._lookups, return_when=asyncio.FIRST_COMPLETED
            )
            return done.pop().result()
        return self._found

    def _look_up(self) -> None:
        """Start a lookup, unless a running one may end soon."""
        now = asyncio.get_running_loop().time()
        recent = now - self._looked_up_at < self._look_again_after
        if self._lookups and (recent or len(self._lookups) >= MAX_LOOKUPS):
            return
        lookup = in_thread(self._ask, "moe-lookup")
        self._looked_up_at = now
        self._lookups.add(lookup)
        lookup.add_done_callback(self._note)

    def _ask(self) -> list[Address]:
        try:
            found = self._getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError("the host's name is no name") from error
        return [*found]

    def _note(self, lookup: asyncio.Future[list[Address]]) -> None:
        self._lookups.discard(lookup)
        if not lookup.cancelled() and lookup.exception() is None:
            self._found = lookup.result()
            self._found_at = asyncio.get_running_loop().time()


def _literal(host: str, port: int) -> list[Address]:
    """Return the address of a host that is an IP address; none for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


def _socket(address: Address) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if (option := getattr(socket, name, None)) is not None:
                made.setsockopt(socket.IPPROTO_TCP, option, value)
    except BaseException:
        made.close()
        raise
    return made
