"""A Redis outbox's connection: many scripts in one pipeline, and a look at its disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ...models.errors import OutboxError, Problem, SettingsError
from ...network.redis import INSTALL
from .scripts import FORGET_RELAYS_AFTER, TIDY
from .store import Call

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

TIMEOUT = 5.0
"""How long to wait for a connection, and for each piece of an answer, in seconds."""

KEYS = (
    *("events", "lines", "times", "due", "owners", "behind", "dead", "graves"),
    "seen",
)

SCHEMA_VERSION = 1
"""Part of every key: a later version would keep its events elsewhere."""


class Connector:
    """Connects to one workspace's outbox. Making it opens nothing.

    Args:
        url: ``redis://`` or ``rediss://``, with redis-py's options as its query.
        name: The address, as logs and errors may show it.
        workspace_id: Part of every key. The braces keep all keys together where Redis
            spreads them.

    Raises:
        SettingsError: The redis package is missing, or the address is none.
    """

    def __init__(self, url: str, name: str, workspace_id: str) -> None:
        self._name = name
        self._prefix = f"moe-outbox:{SCHEMA_VERSION}:{{{workspace_id}}}:"
        self._options = _options(url, name)
        self._is_checked = False

    def __call__(self) -> Connection:
        """Connect.

        Raises:
            OutboxError: It cannot be reached.
        """
        from redis import ConnectionPool, Redis, RedisError

        client = Redis.from_pool(ConnectionPool(**self._options))
        connection = Connection(client, self._name, self._prefix)
        try:
            client.ping()
            if not self._is_checked:
                self._is_checked = True
                _warn_if_not_durable(client, self._name)
                connection.run([Call(TIDY, (FORGET_RELAYS_AFTER,))])
        except (RedisError, OSError) as error:
            client.close()
            raise OutboxError(f"{self._name}: {_described(error)}") from error
        return connection


class Connection:
    """A connected client that runs scripts."""

    def __init__(self, client: Redis, name: str, prefix: str) -> None:
        self._client = client
        self._name = name
        self._prefix = prefix
        self._keys = [prefix + key for key in KEYS]

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Return the calls' answers in order; errors that came for one are answers.

        Raises:
            OutboxError: The server cannot be reached; some may have been done.
        """
        from redis import RedisError

        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            # The whole text each time: it always runs, whatever became of the
            # server's memory of scripts, and to read it takes a few microseconds.
            keys = [*self._keys, f"{self._prefix}writer:{call.writer}"]
            pipeline.eval(call.script, len(keys), *keys, *call.arguments)
        try:
            answers = pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise OutboxError(f"{self._name}: {_described(error)}") from error
        return [self._translated(answer) for answer in answers]

    def close(self) -> None:
        self._client.close()

    def _translated(self, answer: Any) -> Any:
        if not isinstance(answer, Exception):
            return answer
        # What Redis says of a script names the place within, and nothing of its data.
        translated = OutboxError(f"{self._name}: {_described(answer)}")
        translated.__cause__ = answer
        return translated


def _described(error: Exception) -> str:
    """Return what Redis says, and what to do about it where we know."""
    # redis-py has a class for most codes that Redis begins its answers with.
    code, _, _ = str(error).partition(" ")
    advice = _ADVICE.get(type(error).__name__) or _ADVICE.get(code)
    return f"{error}: {advice}" if advice else str(error)


_FULL = "its memory is full: raise its maxmemory, or free some"
_REPLICA = "it only reads: name the primary in events.outbox"

_ADVICE = {
    "OutOfMemoryError": _FULL,
    "OOM": _FULL,
    "ReadOnlyError": _REPLICA,
    "READONLY": _REPLICA,
    "MISCONF": "it cannot write to its disk: see its log",
    "AuthenticationError": "check the user and the password in events.outbox",
    "NoPermissionError": "its user may not run scripts on our keys: see its ACL",
}


def _options(url: str, name: str) -> dict[str, Any]:
    try:
        from redis import ConnectionPool, RedisError
        from redis.backoff import NoBackoff
        from redis.connection import parse_url
        from redis.retry import Retry
    except ImportError as error:
        message = f"{name} needs the redis package: {INSTALL}"
        problem = Problem(where="events.outbox", message=message)
        raise SettingsError([problem]) from error
    try:
        options: dict[str, Any] = {
            **parse_url(url),  # type: ignore[no-untyped-call]
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
            "protocol": 2,
        }
        ConnectionPool(**options).make_connection()
    except (TypeError, ValueError, OSError, RedisError) as error:
        message = f"{name} has an option that redis-py cannot use: {error}"
        problem = Problem(where="events.outbox", message=message)
        raise SettingsError([problem]) from error
    return options


def _warn_if_not_durable(client: Redis, name: str) -> None:
    """Say loudly, once, what a Redis set up like this does to events."""
    from redis import ResponseError

    try:
        # redis-py makes text of these, also without decode_responses.
        found: dict[str, str] = {}
        for option in ("appendonly", "maxmemory-policy", "maxmemory"):
            found |= cast(Any, client).config_get(option)
    except ResponseError:
        # Services often forbid it, and look after their disks themselves.
        logger.info("outbox_durability_unknown outbox=%s", name)
        return
    if found.get("appendonly", "yes") != "yes":
        logger.error(
            "outbox_not_durable outbox=%s appendonly=no: when this Redis is killed or "
            "restarted, all waiting events are lost; set 'appendonly yes'",
            name,
        )
    policy = found.get("maxmemory-policy", "noeviction")
    if policy.startswith("allkeys") and found.get("maxmemory", "0") != "0":
        logger.error(
            "outbox_may_be_evicted outbox=%s maxmemory_policy=%s: when this Redis is "
            "full, it drops all waiting events; set 'maxmemory-policy noeviction'",
            name,
            policy,
        )
