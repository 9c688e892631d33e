"""An event loop's connection to one Redis server, which pipelines commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

from .options import Command
from .router import Unsent, refusal

MAX_GROUP = 500
"""The most orders in one round trip."""

CLOSED = "the connection was closed"


@dataclass(slots=True)
class _Order:
    commands: Sequence[Command]
    answered: asyncio.Future[list[Any]]


class Pipe:
    """A link whose commands share a round trip.

    Commands that arrive during a round trip go together in the next one. None waits for
    a connection, and a caller that gives up does not affect the commands of others.

    Args:
        connection: redis-py's connection, not opened yet, without a timeout of its own:
            with one it would write in a task, turns of the event loop later. Between
            two requests a loop may stand still (on AWS Lambda, in a test's client).
        timeout: Seconds to wait for a connection, and for each order's answers.
        clock: A clock that never jumps, in seconds.

    Attributes:
        waits_since: Since when it has waited for its server; None if it does not.
    """

    def __init__(
        self, connection: Connection, timeout: float, clock: Callable[[], float]
    ) -> None:
        # Older versions of redis-py have no types here.
        self._connection: Any = connection
        self._timeout = timeout
        self._waiting: list[_Order] = []
        self._sending: asyncio.Task[None] | None = None
        self._clock = clock
        self.waits_since: float | None = None
        self._is_closed = False

    def is_lost(self) -> bool:
        # redis-py has no way to see this that is the same in all of its versions.
        reader = getattr(self._connection, "_reader", None)
        return self._sending is None and reader is not None and reader.at_eof()

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        loop = asyncio.get_running_loop()
        order = _Order(commands, loop.create_future())
        self._waiting.append(order)
        if self._sending is None:
            self._sending = loop.create_task(self._send(), name="moe-redis")
        return await order.answered

    async def close(self) -> None:
        """Close it after the answers to all its commands."""
        self._is_closed = True
        if self._sending is None:
            await self._disconnect(nowait=True)

    async def stop(self) -> None:
        """Close it at once."""
        self._is_closed = True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            # A task that has not begun does not run its ``finally``.
            self._sending = self.waits_since = None
            _fail(self._waiting, RedisError(CLOSED))
        await self._disconnect(nowait=False)

    async def _send(self) -> None:
        group: list[_Order] = []
        try:
            while group := self._waiting[:MAX_GROUP]:
                del self._waiting[:MAX_GROUP]
                self.waits_since = self._clock()
                try:
                    # The connection's own limit is for TCP alone, and comes first.
                    async with asyncio.timeout(2 * self._timeout):
                        await self._connection.connect()
                except (RedisError, OSError) as error:
                    group += self._waiting
                    self._waiting.clear()
                    _fail(group, Unsent(error))
                    continue
                try:
                    await self._exchange(group)
                except (RedisError, OSError) as error:
                    _fail(group, error)
                    await self._disconnect(nowait=True)
        finally:
            self._sending = self.waits_since = None
            _fail([*group, *self._waiting], RedisError(CLOSED))
            if self._is_closed:
                await self._disconnect(nowait=True)

    async def _exchange(self, group: Sequence[_Order]) -> None:
        connection = self._connection
        packed = connection.pack_commands(
            command for order in group for command in order.commands
        )
        clock = asyncio.get_running_loop().time
        # Not redis-py's own limit of a read: after that it keeps the connection, and
        # the late answer would be taken for the next command's.
        async with asyncio.timeout(self._timeout) as patience:
            await connection.send_packed_command(packed, check_health=False)
            for order in group:
                patience.reschedule(clock() + self._timeout)
                answers = [await self._answer() for _ in order.commands]
                self.waits_since = self._clock()
                # The caller may have given up.
                if not order.answered.done():
                    order.answered.set_result(answers)

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return refusal(error)

    async def _disconnect(self, *, nowait: bool) -> None:
        # A server that hangs does not take part in closing a TLS connection.
        with suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=nowait)


def _fail(orders: Sequence[_Order], error: Exception) -> None:
    for order in orders:
        if not order.answered.done():
            order.answered.set_exception(error)
