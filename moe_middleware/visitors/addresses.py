"""Finds a visitor's address, behind proxies or not. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from ..settings.value_types import UNIX_SOCKET

MAX_HOPS = 32
"""Entries of a header that are read, from the right; no chain is as long."""

MAX_NODE = 100
"""The longest entry; the longest address with a port and a zone is shorter."""


class TrustedProxies:
    """The proxies whose headers are used for the visitor's address.

    ``address in trusted`` checks one address. An empty one trusts no address.

    Args:
        proxies: Addresses and networks, as in ``10.0.0.0/8``; ``unix:`` for a proxy
            that connects through a Unix socket and so has no address.

    Raises:
        ValueError: One of them is neither.
    """

    __slots__ = ("_networks", "_unix")

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        named = list(proxies)
        self._unix = UNIX_SOCKET in named
        self._networks = [_network(name) for name in named if name != UNIX_SOCKET]

    def __contains__(self, address: str | None) -> bool:
        if not address:
            return self._unix
        known = _read_address(address)
        return known is not None and any(known in network for network in self._networks)


def client_address(
    peer: str | None,
    forwarded: Sequence[str],
    x_forwarded_for: Sequence[str],
    trusted: TrustedProxies,
) -> str | None:
    """Return the visitor's address: the rightmost one that is not a trusted proxy.

    Each proxy appends the address of its client at the right end, so only the entries
    of trusted proxies are read: from the right, up to the first address that is not
    trusted. If all are trusted, the result is the leftmost one; an entry that is no
    address (``unknown``, ``_hidden``, garbage) ends the reading before it.

    If a request has both headers with different addresses, one of them may be forged: a
    proxy that sets one header passes the other through. Then neither is used, and the
    result is the peer. Remedy: let the proxy remove the header that it does not set.

    Args:
        peer: The address of the connection's other end; None if unknown.
        forwarded: The values of all Forwarded headers (RFC 7239), in order.
        x_forwarded_for: The values of all X-Forwarded-For headers, in order.
        trusted: The trusted proxies; without any, the headers are not read.

    Returns:
        The address in its shortest form, as IPv4 if possible, without port and zone;
        None without an address. Never raises, whatever the headers contain.
    """
    direct = _shortest(peer or "")
    if peer not in trusted:
        return direct
    addresses = {
        _walk(entries, direct, trusted)
        for entries in (
            [_forwarded_for(entry) for entry in _from_the_right(forwarded)],
            _from_the_right(x_forwarded_for),
        )
        if entries
    }
    return addresses.pop() if len(addresses) == 1 else direct


_PAIR = re.compile(
    r"""[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:([^\s";,\\=]+)|"([^"\\]*)")[ \t]*"""
)

# In Forwarded a port may be a hidden name: RFC 7239, section 6.
_PORT = r"(?::(?:[0-9]{1,5}|_[\w.-]+))?"
_NODE = re.compile(rf"\[([^\[\]]+)\]{_PORT}|([0-9.]+){_PORT}|([0-9a-fA-F:.]+(?:%\S+)?)")


def _walk(
    entries: Iterable[str], direct: str | None, trusted: TrustedProxies
) -> str | None:
    last = direct
    for entry in entries:
        address = _shortest(entry)
        if address is None:
            break
        last = address
        if address not in trusted:
            break
    return last


def _from_the_right(lines: Sequence[str]) -> list[str]:
    joined = ",".join(lines)
    if not joined.strip(" \t,"):
        return []
    # With more entries, the last piece is the unsplit rest, and no address.
    return joined.rsplit(",", MAX_HOPS)[::-1]


def _forwarded_for(element: str) -> str:
    """Return the ``for`` of one element of a Forwarded header, else "".

    Elements are separated at every comma, quoted or not, and each must be well-formed
    on its own, without escapes. So neither a quote that a visitor left open nor a comma
    in the ``host`` that a proxy quotes can change another element.
    """
    found = ""
    for pair in filter(str.strip, element.split(";")):
        matched = _PAIR.fullmatch(pair)
        if matched is None:
            return ""
        name, value, quoted = matched.groups("")
        if name.lower() == "for":
            if found:
                return ""
            found = value or quoted
    return found


@lru_cache(maxsize=4096)
def _shortest(node: str) -> str | None:
    """Return an address without port and zone, in its shortest form, else None."""
    address = _read_address(node) if len(node) <= MAX_NODE else None
    return str(address) if address is not None else None


@lru_cache(maxsize=1024)
def _read_address(node: str) -> IPv4Address | IPv6Address | None:
    matched = _NODE.fullmatch(node.strip(" \t"))
    if matched is None:
        return None
    text = next(part for part in matched.groups() if part)
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # Servers that listen on IPv6 have IPv4 peers in this form.
    return getattr(address, "ipv4_mapped", None) or address


def _network(name: str) -> IPv4Network | IPv6Network:
    if name == "*":
        raise ValueError(
            "'*' would believe every visitor: name the proxies, as in 10.0.0.0/8"
        )
    try:
        network = ip_network(name)
    except ValueError as error:
        raise ValueError(
            f"{name!r} is no address and no network ({error}): write one as in "
            f"10.0.0.1, 10.0.0.0/8, fd00::/8 or {UNIX_SOCKET}"
        ) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((mapped, network.prefixlen - 96))
