"""Listening sockets for the servers of this package, its demo and its tests."""

from __future__ import annotations

import secrets
import socket
from ipaddress import ip_address


class CannotListen(OSError):
    """The reason why there is no socket, in a few words."""


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a listening TCP socket; port 0 takes any free one.

    ``socket.create_server`` leaves the protocol at 0, and asyncio sets TCP_NODELAY only
    if it is given: responses would wait for the client's delayed ACK, about 40 ms.

    Raises:
        CannotListen: The address is taken, or not one of this machine.
    """
    if not 0 <= port <= 65_535:
        raise CannotListen("a port is a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host.encode("idna")
        made = socket.create_server((host, port), family=family)
    except UnicodeError:
        raise CannotListen("that is no name of a host") from None
    except OSError as error:
        # The socket module repeats the address in brackets.
        why, _, _ = str(error.strerror or error).partition(" (")
        raise CannotListen(why.rstrip(".")) from None
    protocol = socket.IPPROTO_TCP
    return socket.socket(family, socket.SOCK_STREAM, protocol, fileno=made.detach())


def token_for(listener: socket.socket) -> str:
    """Return a new token if other machines can reach the socket, else ""."""
    # 0.0.0.0 listens to other machines, too.
    is_own = ip_address(listener.getsockname()[0]).is_loopback
    return "" if is_own else secrets.token_urlsafe(16)


def address_of(listener: socket.socket, host: str = "127.0.0.1") -> str:
    """Return a socket's URL, as in ``http://127.0.0.1:8787``."""
    return url_of(host, listener.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """Return the URL of a host and a port, as in ``http://[::1]:8787``."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
