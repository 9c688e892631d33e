"""Redis for a thread that may block."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from redis.connection import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError

from .options import Command, RedisOptions
from .router import Link, Router, Unsent, refusal
from .topology import Place

T = TypeVar("T")


class BlockingRedis:
    """A connection to a Redis, with blocking calls.

    Args:
        options: The address and its options.
        patience: Seconds during which a command is repeated that its server did not
            carry out.
    """

    def __init__(self, options: RedisOptions, *, patience: float) -> None:
        self._options = options
        self._router = Router(
            options, self._link, patience=patience, sleep=_sleep, clock=time.monotonic
        )

    def ask(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Do as ``Router.ask`` does."""
        return _done(self._router.ask(key, commands))

    def close(self) -> None:
        _done(self._router.close())

    def _link(self, place: Place, is_sentinel: bool) -> Link:
        options = self._options.sentinels if is_sentinel else self._options.servers
        kind = SSLConnection if self._options.address.is_tls else Connection
        return _Link(kind(host=place[0], port=place[1], **options))


class _Link:
    """A link that blocks: its coroutines never wait."""

    def __init__(self, connection: Connection) -> None:
        # Older versions of redis-py have no types here.
        self._connection: Any = connection
        self._is_open = False

    def is_lost(self) -> bool:
        try:
            # Between two requests only the end of the connection can be read.
            return self._is_open and bool(self._connection.can_read(timeout=0))
        except (RedisError, OSError):
            return True

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        try:
            connection.connect()
        except (RedisError, OSError) as error:
            raise Unsent(error) from error
        self._is_open = True
        packed = connection.pack_commands(commands)
        connection.send_packed_command(packed, check_health=False)
        return [self._answer() for _ in commands]

    async def close(self) -> None:
        self._is_open = False
        self._connection.disconnect()

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return refusal(error)


async def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs it


def _done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")
