"""Redis for event loops, with connections and short timeouts for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...concurrency.event_loops import PerLoop
from ...concurrency.fork_hooks import begin_in_children
from .options import Command, RedisOptions, redis_options

if TYPE_CHECKING:
    from .loop_router import LoopRouter


class RedisClients:
    """The connections to one Redis, for each event loop.

    Making it opens nothing, but loads the redis package and the certificates, which
    takes tenths of a second that no page should wait for.

    Args:
        url: ``redis://``, ``redis+sentinel://``, ``redis+cluster://``, or those with
            ``rediss``, and redis-py's options as its query, as in
            ``rediss://host:6379/0?ssl_ca_certs=/etc/ssl/ours.pem``.
        where: The setting that asks for it, as in ``cache.redis``, for errors.
        timeout: Seconds to wait for a connection, and for each part of an answer; a
            command may take several times as long.
        patience: Seconds during which a command is repeated that its server did not
            carry out; by default ``timeout``.

    Raises:
        SettingsError: The redis package is missing, the address is none, or an option
            or a certificate cannot be used.
    """

    def __init__(
        self, url: str, *, where: str, timeout: float, patience: float | None = None
    ) -> None:
        options = redis_options(url, where=where, timeout=timeout)
        # Not before the package is known to be there.
        from .loop_router import LoopRouter, tls_context

        tls = tls_context(options)
        self.shown = options.shown
        self.options: RedisOptions = options
        patience = timeout if patience is None else patience

        def new_router() -> LoopRouter:
            return LoopRouter(options, tls, patience=patience, clock=time.monotonic)

        self._routers: PerLoop[LoopRouter] = PerLoop(new_router, end=LoopRouter.stop)
        self._parents: list[object] = []
        begin_in_children(self)

    async def ask(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Do as ``Router.ask`` does."""
        return await self._routers.current().ask(key, commands)

    async def reach(self) -> list[Exception | None]:
        """Connect to every primary; return the errors.

        Raises:
            RedisError, OSError: They cannot be found.
        """
        return await self._routers.current().reach()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next use opens anew."""
        router = self._routers.pop()
        if router is not None:
            await router.stop()

    def begin_in_child(self) -> None:
        # The parent still talks through these sockets and its selector watches them:
        # even closing them here would be noticed there, so they are kept, unused.
        self._parents.append(self._routers.let_go())
