"""Clients of Redis and Valkey: one per address and event loop, quick to give up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..concurrency.event_loops import PerLoop
from ..concurrency.fork_hooks import register_fork_hooks
from ..models.errors import Problem, SettingsError
from ..settings.store_addresses import StoreAddress

if TYPE_CHECKING:
    from redis.asyncio import Redis

INSTALL = 'pip install "moe_middleware[redis]"'


class RedisClients:
    """A client for every event loop that asks for one, all of the same address.

    Making it opens nothing, but loads the redis package, which takes a tenth of a
    second that no page should wait for. A client never tries again: who waits knows
    better what to do. Its options win over those of the address.

    Args:
        url: ``redis://`` or ``rediss://``, with redis-py's options as its query, as in
            ``rediss://host:6379/0?ssl_ca_certs=/etc/ssl/ours.pem``.
        where: The setting that asks for it, as in ``cache.redis``, for errors.
        timeout: How long to wait for a free connection, to connect, and for every
            piece of an answer, in seconds; all of a command may take several times
            as long.
        max_connections: How many connections an event loop opens at most; further
            commands wait for one.

    Raises:
        SettingsError: The redis package is missing, or the address is none.
    """

    def __init__(
        self, url: str, *, where: str, timeout: float, max_connections: int = 16
    ) -> None:
        self.shown = _shown(url)
        options = _options(url, where, timeout, max_connections)
        self._clients: PerLoop[Redis] = PerLoop(lambda: _client(options), end=_close)
        self._parents: list[object] = []
        _all.add(self)

    def __repr__(self) -> str:
        return f"RedisClients({self.shown!r})"

    def current(self) -> Redis:
        """Return the running event loop's client; it connects at its first command."""
        return self._clients.current()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next use opens anew."""
        client = self._clients.pop()
        if client is not None:
            await _close(client)

    def _forget_after_fork(self) -> None:
        # The parent still talks through these sockets and its selector watches them:
        # even closing them here would be noticed there, so they are kept, unused.
        self._parents.append(self._clients.let_go())


_all: WeakSet[RedisClients] = WeakSet()


def _forget_after_fork() -> None:
    for clients in list(_all):
        clients._forget_after_fork()


register_fork_hooks(after_in_child=_forget_after_fork)


def _options(
    url: str, where: str, timeout: float, max_connections: int
) -> dict[str, Any]:
    """Return what every connection is made with, after making one, unconnected."""
    shown = _shown(url)
    try:
        from redis.asyncio.connection import parse_url
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
    except ImportError as error:
        message = f"{shown} needs the redis package: {INSTALL}"
        raise SettingsError([Problem(where=where, message=message)]) from error
    try:
        options = {
            **parse_url(url),
            "max_connections": max_connections,
            "timeout": timeout,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
            # The newer protocol brings us nothing, and costs a round trip more.
            "protocol": 2,
        }
        pool: Any = _client(options).connection_pool
        made = pool.make_connection()
        if (tls := getattr(made, "ssl_context", None)) is not None:
            # Reading all certificates takes 20 ms: once, and not under a page.
            tls.get()
            options["tls"] = tls
    except (TypeError, ValueError, OSError, RedisError) as error:
        message = f"{shown} has an option that redis-py cannot use: {error}"
        raise SettingsError([Problem(where=where, message=message)]) from error
    return options


async def _close(client: Redis) -> None:
    from redis.exceptions import RedisError

    # A server that hangs does not take part in closing a TLS connection.
    with suppress(RedisError, OSError):
        await client.aclose()


def _client(options: Mapping[str, Any]) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Redis

    class Pool(BlockingConnectionPool):
        def make_connection(self) -> Any:
            made = super().make_connection()  # type: ignore[no-untyped-call]
            if tls is not None:
                made.ssl_context = tls
            return made

    given = dict(options)
    tls = given.pop("tls", None)
    return Redis.from_pool(Pool(**given))


def _shown(url: str) -> str:
    return StoreAddress(url).shown
