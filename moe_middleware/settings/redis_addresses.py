"""Addresses of Redis and Valkey: of one server, a cluster, or sentinels. Pure: no I/O.

The forms are those that most Python libraries share: redis-py's own for one server, and
``redis+sentinel://`` and ``redis+cluster://`` beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal
from urllib.parse import unquote

Kind = Literal["single", "sentinel", "cluster"]

_KINDS: dict[str, tuple[Kind, int]] = {
    "": ("single", 6379),
    "+sentinel": ("sentinel", 26379),
    "+cluster": ("cluster", 6379),
}
"""The kind and the default port by the rest of a scheme after ``redis(s)``."""

REDIS_SCHEMES = tuple(
    f"{name}{ending}://" for name in ("redis", "rediss") for ending in _KINDS
)

_HOST = re.compile(r"(\[[^\]]+\]|[^\[\]:/@,]+)(?::([0-9]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """The address of a Redis, with its credentials.

    Attributes:
        kind: One server, a cluster, or a primary that sentinels name.
        is_tls: Whether all connections are encrypted.
        hosts: The server, some of the cluster's servers, or the sentinels.
        shown: The address without its user, password and options.
        service: The name under which the sentinels know the primary.
        database: The number of the database; 0 in a cluster.
        username: The user on the servers; the sentinels' is an option.
        password: The password on the servers.
        query: The options, as redis-py names them.
    """

    kind: Kind
    is_tls: bool
    hosts: tuple[tuple[str, int], ...]
    shown: str
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = None
    query: str = ""


def redis_address(address: str) -> RedisAddress:
    """Parse an address.

    Raises:
        ValueError: It is invalid; the text, if any, has the mistake and the correct
            form, without a possible password.
    """
    scheme, found, rest = address.partition("://")
    name, plus, ending = scheme.partition("+")
    known = _KINDS.get(plus + ending)
    if name not in ("redis", "rediss") or known is None or not found:
        raise ValueError
    kind, port = known
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    if not address.isprintable() or " " in address or "#" in address or "@" in path:
        raise ValueError  # the hosts may be the beginning of a password
    places = tuple(_place(host, port) for host in hosts.split(","))
    shown = f"{scheme}://{hosts.lower()}"
    if kind == "single" and len(places) > 1:
        raise ValueError(
            f"{shown} names several servers: write redis+cluster:// for a cluster, or "
            "redis+sentinel:// for sentinels, as in redis+sentinel://a:26379/mymaster"
        )
    service, database = _path(kind, path.strip("/"), shown)
    username, _, password = user.partition(":")
    return RedisAddress(
        kind=kind,
        is_tls=name == "rediss",
        hosts=places,
        shown=f"{shown}{slash}{path}",
        service=service,
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        query=query,
    )


def _place(text: str, default: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError
    host, port = match[1].lower(), int(match[2] or default)
    if host.startswith("["):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ValueError
    if not 0 < port < 65_536:
        raise ValueError
    return host, port


def _path(kind: Kind, path: str, shown: str) -> tuple[str, int]:
    """Return the name of the service, and the database."""
    parts = path.split("/") if path else []
    service = ""
    if kind == "sentinel":
        if not parts or _is_number(parts[0]):
            name = parts[1] if len(parts) == 2 else "mymaster"
            after = f"/{parts[0]}" if parts else ""
            raise ValueError(
                f"{shown} does not begin its path with the name of the service: write "
                f"{shown}/{name}{after}, with the name that sentinel.conf gives in "
                "'sentinel monitor'"
            )
        service = unquote(parts.pop(0))
    if len(parts) > 1 or not all(map(_is_number, parts)):
        raise ValueError
    database = int(parts[0]) if parts else 0
    if kind == "cluster" and database:
        raise ValueError(f"{shown} is a cluster, which has no databases: leave it out")
    return service, database


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
