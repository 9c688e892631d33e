"""The options of connections: those of an address, and its certificates."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ...models.errors import Problem, SettingsError
from ...settings.redis_addresses import RedisAddress, redis_address
from ...settings.store_addresses import StoreAddress

INSTALL = 'pip install "moe_middleware[redis]"'

OF_SENTINELS = ("sentinel_username", "sentinel_password")
OF_POOLS = ("max_connections", "timeout", "connection_class")
"""Options of redis-py's pools, which have no effect here."""

Options = Mapping[str, Any]

Command = tuple[Any, ...]
"""A command's words: text, bytes or numbers."""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How to reach a Redis.

    Attributes:
        address: The address.
        servers: The keywords of a connection to a server with data.
        sentinels: The keywords of a connection to a sentinel.
    """

    address: RedisAddress
    servers: Options
    sentinels: Options

    @property
    def shown(self) -> str:
        """The address as logs and errors may show it."""
        return self.address.shown


def redis_options(url: str, *, where: str, timeout: float) -> RedisOptions:
    """Return the options of an address, after reading its files.

    Args:
        url: The address, with redis-py's options as its query, and with
            ``sentinel_username`` and ``sentinel_password``.
        where: The setting that asks for it, as in ``cache.redis``, for errors.
        timeout: Seconds to wait for a connection, and for each part of an answer; the
            address's own timeouts are ignored.

    Raises:
        SettingsError: The redis package is missing, the address is none, or an option
            or a certificate cannot be used.
    """
    shown = StoreAddress(url).shown
    try:
        from redis.asyncio.connection import parse_url
        from redis.exceptions import RedisError
    except ImportError as error:
        message = f"{shown} needs the redis package: {INSTALL}"
        raise SettingsError([Problem(where=where, message=message)]) from error
    try:
        address = redis_address(url)
        given = dict(parse_qsl(address.query))
        own = {name: given.pop(name, None) for name in OF_SENTINELS}
        # redis-py gives each option its type. It knows no lists of hosts.
        parsed: dict[str, Any] = {**parse_url(f"redis://?{urlencode(given)}")}
    except ValueError as error:
        raise _unusable(where, shown, str(error) or "it is no address") from error
    for name in OF_POOLS:
        parsed.pop(name, None)
    certificates = {name: parsed[name] for name in parsed if name.startswith("ssl_")}
    if address.is_tls:
        # redis-py 5 takes any certificate's name unless it is asked to look.
        certificates.setdefault("ssl_check_hostname", True)
        if "ssl_certfile" in certificates:
            certificates.setdefault("ssl_keyfile", certificates["ssl_certfile"])
        if fault := _certificate_fault(certificates):
            message = f"{shown}: {fault}"
            raise SettingsError([Problem(where=where, message=message)])
    elif certificates:
        tls = shown.replace("redis", "rediss", 1)
        message = f"{shown} has {min(certificates)}, and no TLS: write {tls}"
        raise SettingsError([Problem(where=where, message=message)])
    common = {
        **certificates,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "decode_responses": False,
        # The newer protocol brings us nothing, and costs a round trip more.
        "protocol": 2,
    }
    database = int(parsed.get("db", address.database) or 0)
    if database and address.kind == "cluster":
        raise _unusable(where, shown, "db: a cluster has no databases")
    login = {
        "username": address.username or parsed.get("username"),
        "password": address.password or parsed.get("password"),
        "db": database,
    }
    options = RedisOptions(
        address,
        servers={**parsed, **login, **common},
        sentinels={
            "username": own["sentinel_username"],
            "password": own["sentinel_password"],
            **common,
        },
    )
    try:
        _make_both(options)
    except (TypeError, ValueError, OSError, RedisError) as error:
        raise _unusable(where, shown, str(error)) from error
    return options


def _make_both(options: RedisOptions) -> None:
    """Make an unconnected connection of each kind, to find mistakes."""
    from redis import connection as blocking
    from redis.asyncio import connection as waiting

    name = "SSLConnection" if options.address.is_tls else "Connection"
    for module in (waiting, blocking):
        made = getattr(module, name)(host="h", port=1, **options.servers)
        tls = getattr(made, "ssl_context", None)
        if tls is not None and module is waiting:
            # Only now are the certificates read.
            tls.get()


def _unusable(where: str, shown: str, why: str) -> SettingsError:
    message = f"{shown} has an option that redis-py cannot use: {why}"
    return SettingsError([Problem(where=where, message=message)])


def _certificate_fault(options: Mapping[str, Any]) -> str | None:
    """Return the mistake in the certificates' files; None without one."""
    for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
        if file := options.get(name):
            try:
                with open(file, "rb"):
                    pass
            except OSError as error:
                return f"{name}={file} cannot be read: {error.strerror}"
    context = ssl.create_default_context()
    if authorities := options.get("ssl_ca_certs"):
        try:
            context.load_verify_locations(authorities)
        except (ssl.SSLError, OSError):
            return f"ssl_ca_certs={authorities} holds no certificate in PEM form"
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if key and not certificate:
        return "ssl_keyfile has no ssl_certfile beside it"
    if certificate:
        try:
            # Without one, OpenSSL would ask for a password on the terminal.
            context.load_cert_chain(certificate, key, options.get("ssl_password", ""))
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or "no PEM"
            return (
                f"ssl_certfile={certificate} and ssl_keyfile={key} are no certificate "
                f"and its key ({reason}); a key with a password needs ssl_password"
            )
    return None
