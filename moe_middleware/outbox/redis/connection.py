"""A Redis outbox's connection, and the check of its durability."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...models.errors import OutboxError
from ...network.redis import Command
from ...network.redis.options import RedisOptions
from .scripts import FORGET_RELAYS_AFTER, TIDY

if TYPE_CHECKING:
    from ...network.redis.blocking import BlockingRedis

logger = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds to wait for a connection, and for each part of an answer."""

PATIENCE = 1.0
"""Seconds during which a command is repeated that its server did not carry out."""

REPLICAS_WITHIN = 1.0
"""How long replicas that must have a batch may take, in seconds."""

WITHOUT_AFTER = 10.0
"""Without a setting, how long events wait for a replica, in seconds. A primary that has
been replaced and does not know it has none, until the sentinels name its successor."""

TRIED_FOR = 0.2
TRIED_EVERY = 1.0
"""How long a replica may take after that, and how often one is looked for."""

LOG_EVERY = 60.0

KEYS = (
    *("events", "queues", "times", "due", "owners", "behind", "dead", "graves"),
    "seen",
)

SCHEMA_VERSION = 1
"""Part of every key: another version has other keys."""


@dataclass(frozen=True, slots=True)
class Call:
    """A script, its arguments, and the writer of its record."""

    script: str
    arguments: tuple[Any, ...] = ()
    writer: str = ""


@dataclass(frozen=True, slots=True)
class Replicated:
    """Waits until replicas have all earlier writes."""


class Connection:
    """Runs scripts on the outbox of one workspace, connected when it is first needed.

    Args:
        options: The address.
        workspace_id: Part of every key. The braces keep all keys in one slot of a
            cluster.
        replicas: How many replicas must have a batch before it counts as stored. None
            asks for one where sentinels or a cluster can make it the primary, and goes
            on without one while there is none.
    """

    def __init__(
        self, options: RedisOptions, workspace_id: str, *, replicas: int | None = None
    ) -> None:
        self._options = options
        self._name = options.shown
        self._prefix = f"moe-outbox:{SCHEMA_VERSION}:{{{workspace_id}}}:"
        self._keys = [self._prefix + key for key in KEYS]
        self._replicas = _Replicas(options, replicas)
        self._redis: BlockingRedis | None = None

    def run(self, calls: Sequence[Call | Replicated]) -> list[Any]:
        """Return the calls' answers in order; a call's error is its answer.

        Raises:
            OutboxError: The server cannot be reached; some calls may have run.
        """
        if not calls:
            return []
        answers = self._run([self._command(call) for call in calls])
        return [
            self._replicas.verdict(answer) if isinstance(call, Replicated) else answer
            for call, answer in zip(calls, answers, strict=True)
        ]

    def close(self) -> None:
        """Disconnect; a later call connects again."""
        redis, self._redis = self._redis, None
        if redis is not None:
            redis.close()

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        from redis.exceptions import RedisError

        try:
            answers = self._connected().ask(self._prefix, commands)
        except (RedisError, OSError) as error:
            raise OutboxError(f"{self._name}: {_described(error)}") from error
        return [self._translated(answer) for answer in answers]

    def _connected(self) -> BlockingRedis:
        if self._redis is None:
            from ...network.redis.blocking import BlockingRedis

            self._redis = BlockingRedis(self._options, patience=PATIENCE)
            self._run([("PING",)])
            if self._prefix + self._name not in _checked:
                _checked.add(self._prefix + self._name)
                self._warn_if_not_durable()
                self.run([Call(TIDY, (FORGET_RELAYS_AFTER,))])
        return self._redis

    def _warn_if_not_durable(self) -> None:
        """Log once that this Redis may lose events."""
        wanted = ("appendonly", "maxmemory-policy", "maxmemory")
        answers = self._run([("CONFIG", "GET", one) for one in wanted])
        if any(isinstance(answer, Exception) for answer in answers):
            # Services often forbid it, and manage their disks themselves.
            logger.info("outbox_durability_unknown outbox=%s", self._name)
            return
        found = [answer[1].decode() if answer else "" for answer in answers]
        appendonly, policy, most = found
        if appendonly not in ("yes", ""):
            logger.error(
                "outbox_not_durable outbox=%s appendonly=no: when this Redis is killed "
                "or restarted, all waiting events are lost; set 'appendonly yes'",
                self._name,
            )
        if policy.startswith("allkeys") and most not in ("0", ""):
            logger.error(
                "outbox_may_be_evicted outbox=%s maxmemory_policy=%s: when this Redis "
                "is full, it drops all waiting events; set 'maxmemory-policy "
                "noeviction'",
                self._name,
                policy,
            )

    def _command(self, call: Call | Replicated) -> Command:
        if isinstance(call, Replicated):
            return self._replicas.command()
        # The whole script each time, which needs no script cache on the server and
        # takes a few microseconds to read.
        keys = [*self._keys, f"{self._prefix}writer:{call.writer}"]
        return ("EVAL", call.script, len(keys), *keys, *call.arguments)

    def _translated(self, answer: Any) -> Any:
        if not isinstance(answer, Exception):
            return answer
        # Redis's error names the place in the script, and no data.
        translated = OutboxError(f"{self._name}: {_described(answer)}")
        translated.__cause__ = answer
        return translated


_checked: set[str] = set()
"""The outboxes whose durability this process has checked."""


class _Replicas:
    """Waits until replicas have a batch.

    Args:
        options: The address of the outbox.
        wanted: The number of replicas; None is one, if there is one.
    """

    def __init__(self, options: RedisOptions, wanted: int | None) -> None:
        self._name = options.shown
        self._must = wanted is not None
        could_fail_over = options.address.kind != "single"
        self._count = int(could_fail_over) if wanted is None else wanted
        self._missing_since: float | None = None
        self._look_at = 0.0
        self._logged_at = float("-inf")

    def command(self) -> Command:
        """Return the command that waits for them."""
        # In place of WAIT, so that each pipeline has as many answers.
        if not self._count or time.monotonic() < self._look_at:
            return ("PING",)
        within = TRIED_FOR if self._goes_without() else REPLICAS_WITHIN
        return ("WAIT", self._count, round(1000 * within))

    def verdict(self, answer: Any) -> Any:
        """Return an error if too few have it; log if there is none to have it."""
        if not isinstance(answer, int):
            return answer
        if answer >= self._count:
            self._missing_since = None
            return answer
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        if not self._goes_without():
            return OutboxError(
                f"{self._name}: {answer} of {self._count} replicas have the events: do "
                "they run? events.replicas says how many must"
            )
        self._look_at = now + TRIED_EVERY
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            logger.warning(
                "outbox_not_replicated outbox=%s: no replica has the newest events; if "
                "the primary is lost now, so are they: does a replica run? "
                "events.replicas=1 keeps events on this host until one has them",
                self._name,
            )
        return answer

    def _goes_without(self) -> bool:
        since = self._missing_since
        if self._must or since is None:
            return False
        return time.monotonic() - since >= WITHOUT_AFTER


def _described(error: Exception) -> str:
    """Return Redis's error, with advice if we have any."""
    from ...network.redis.advice import advice

    found = advice(error)
    return f"{error}: {found}" if found else str(error)
