"""A router on an event loop: callers share connections and discoveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .options import Command, RedisOptions
from .pipes import Pipe
from .router import Link, Router, Unsent
from .topology import Place

RELEARN_EVERY = 1.0
"""Seconds between two lookups of all slots after some have moved."""


LATE_TURNS = 3
"""Turns of the event loop before a server counts as silent: the loop may have been busy
while the answer was there already."""

VERIFY_EVERY = 3.0
"""How often the sentinels are asked again, in seconds: a primary that was replaced
takes commands for another ten."""


def tls_context(options: RedisOptions) -> Any:
    """Return the TLS context of all connections; None without TLS.

    Reading all certificates takes 20 ms, so it is done once, before the first page.
    """
    if not options.address.is_tls:
        return None
    context = SSLConnection(host="h", port=1, **options.servers).ssl_context
    context.get()
    return context


class LoopRouter(Router):
    """A router whose links are pipes.

    Args:
        options: Where the Redis is.
        tls: What ``tls_context`` returned.
        patience: As for ``Router``; after it, a server without an answer is silent.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        options: RedisOptions,
        tls: Any,
        *,
        patience: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            options,
            self._new_pipe,
            patience=patience,
            sleep=asyncio.sleep,
            clock=clock,
        )
        self._tls = tls
        # Those whose last connection timed out, until they answer.
        self._silent: set[Place] = set()
        self._pipes: WeakSet[Pipe] = WeakSet()
        self._discovery: asyncio.Task[None] | None = None
        self._relearn_at = float("-inf")
        self._is_verified = options.address.kind == "sentinel"
        self._verify_at = clock() + VERIFY_EVERY

    async def _place_of(self, slot: int) -> Place:
        place = await super()._place_of(slot)
        now = self._clock()
        if self._is_verified and now >= self._verify_at:
            self._verify_at = now + VERIFY_EVERY
            self._discovering()
        return place

    async def stop(self) -> None:
        """Close everything at once; waiting commands fail."""
        if self._discovery is not None:
            # It would open connections after these were closed.
            self._discovery.cancel()
            await asyncio.wait([self._discovery])
        for pipe in [*self._pipes]:
            await pipe.stop()

    async def _run(
        self, place: Place, commands: Sequence[Command], *, asking: bool
    ) -> list[Any]:
        # In a cluster, those who asked a silent server first find out when it answers;
        # the others do not wait for it.
        for turn in range(LATE_TURNS + 1):
            if not self._is_silent(place):
                break
            if turn == LATE_TURNS:
                raise ConnectionError(f"{place[0]}:{place[1]} does not answer")
            await asyncio.sleep(0)
        try:
            answers = await super()._run(place, commands, asking=asking)
        except (Unsent, RedisError, OSError) as error:
            cause = error.error if isinstance(error, Unsent) else error
            if isinstance(cause, (TimeoutError, RedisTimeoutError)):
                self._silent.add(place)
            raise
        self._silent.discard(place)
        return answers

    def _is_silent(self, place: Place) -> bool:
        """Whether others wait for an answer of this server too long already."""
        link = self._links.get(place)
        since = link.waits_since if isinstance(link, Pipe) else None
        if since is None:
            return False
        return place in self._silent or self._clock() - since > self._patience

    def _new_pipe(self, place: Place, is_sentinel: bool) -> Link:
        options = self._options.sentinels if is_sentinel else self._options.servers
        timeout = options["socket_timeout"]
        # The pipe has a limit of its own, and says why.
        options = {**options, "socket_timeout": None}
        connection: Connection
        if self._tls is None:
            connection = Connection(host=place[0], port=place[1], **options)
        else:
            connection = SSLConnection(host=place[0], port=place[1], **options)
            connection.ssl_context = self._tls
        pipe = Pipe(connection, timeout, self._clock)
        self._pipes.add(pipe)
        return pipe

    async def _discover(self) -> None:
        # A caller that gives up leaves the discovery to the others.
        discovery = self._discovering()
        await asyncio.wait([discovery])
        if discovery.cancelled():
            raise ConnectionError("the connections were closed")
        discovery.result()

    def _relearn(self) -> None:
        if self._clock() >= self._relearn_at:
            self._relearn_at = self._clock() + RELEARN_EVERY
            self._discovering()

    def _discovering(self) -> asyncio.Task[None]:
        if self._discovery is None:
            self._discovery = asyncio.get_running_loop().create_task(
                super()._discover(), name="moe-redis-discovery"
            )
            self._discovery.add_done_callback(self._discovered)
        return self._discovery

    def _discovered(self, discovery: asyncio.Task[None]) -> None:
        self._discovery = None
        if not discovery.cancelled():
            # Otherwise the loop reports an exception that was never retrieved.
            discovery.exception()
