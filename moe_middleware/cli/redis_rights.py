"""The rights that our user of a Redis needs, and how ``check`` finds missing ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from ..network.redis import Command
from ..network.redis.advice import advice
from ..outbox.redis.connection import SCHEMA_VERSION

K = "the key"
"""Stands for a key of ours that does not exist."""

# None of these commands changes anything: it reads, removes a missing key, or has an
# argument that Redis refuses after it has checked the rights.
_NEEDS: dict[str, Sequence[Command]] = {
    "cache.redis": (
        ("PING",),
        ("MGET", K),
        ("SET", K, "", "PX", "?"),
        ("PEXPIRE", K, 1),
        ("EVAL", "return 0", 1, K),
        ("GET", K),
        ("DEL", K),
    ),
    "budget.store": (
        ("PING",),
        ("EVALSHA", "?", 1, K),
        ("EVAL", "return 0", 1, K),
        ("TIME",),
        ("HGETALL", K),
        ("HSET", K, "a", "b", "?"),
        ("HDEL", K, "a"),
        ("EXPIRE", K, 1),
        ("ZADD", K, "?", "a"),
        ("ZREMRANGEBYSCORE", K, 0, 0),
        ("ZCARD", K),
    ),
    "events.outbox": (
        ("PING",),
        ("EVAL", "return 0", 1, K),
        ("TIME",),
        ("WAIT", 0, 1),
        ("GET", K),
        ("SET", K, "", "PX", "?"),
        ("EXISTS", K),
        ("HGET", K, "a"),
        ("HGETALL", K),
        ("HEXISTS", K, "a"),
        ("HLEN", K),
        ("HSET", K, "a", "b", "?"),
        ("HINCRBYFLOAT", K, "a", "?"),
        ("HDEL", K, "a"),
        ("ZADD", K, "?", "a"),
        ("ZREM", K, "a"),
        ("ZCARD", K),
        ("ZSCORE", K, "a"),
        ("ZRANGE", K, 0, 0),
        ("ZRANGEBYSCORE", K, 0, 0),
        ("ZREVRANGEBYSCORE", K, 0, 0),
        ("ZRANGEBYLEX", K, "-", "-"),
        ("XADD", K, "?", "a", "b"),
        ("XLEN", K),
        ("XRANGE", K, "-", "+"),
        ("XDEL", K, "1-1"),
        ("XACK", K, "a", "1-1"),
        ("XPENDING", K, "a"),
        ("XCLAIM", K, "a", "b", 0, "1-1"),
        ("XINFO", "STREAM", K),
        ("XGROUP", "CREATE", K, "a", "?"),
        ("XREADGROUP", "GROUP", "a", "b", "STREAMS", K, ">"),
    ),
}

TO_FIND = {
    "single": "+select",
    "sentinel": "+sentinel|get-master-addr-by-name",
    "cluster": "+cluster|slots",
}
"""The right of the very first command, by the kind of the address."""


def needs_of(
    where: str, workspace_id: str, *, cluster: bool
) -> tuple[str, list[Command]]:
    """Return a key, and commands that need each right on it and change nothing.

    Args:
        where: The setting of the Redis, as in ``cache.redis``.
        workspace_id: The workspace.
        cluster: Whether it is a cluster.
    """
    key = {
        "cache.redis": f"moe:{workspace_id}:check",
        "budget.store": "moe:{budget:check}",
        "events.outbox": f"moe-outbox:{SCHEMA_VERSION}:{{{workspace_id}}}:check",
    }[where]
    needs = [*_NEEDS[where], *((("ASKING",),) if cluster else ())]
    return key, [tuple(key if word is K else word for word in need) for need in needs]


def missing_rights(
    key: str, needs: Iterable[Command], answers: Iterable[Any]
) -> str | None:
    """Return the ACL rules for the rights that are missing by these answers."""
    rules: dict[str, None] = {}
    for need, answer in zip(needs, answers, strict=True):
        if isinstance(answer, NoPermissionError):
            is_command = " command" in str(answer)
            pattern = f"~{key.partition(':')[0]}:*"
            rules[f"+{need[0].lower()}" if is_command else pattern] = None
    return " ".join(rules) or None


def failure_of(answers: Iterable[Any]) -> Exception | None:
    """Return the first error after which the server cannot be used."""
    for answer in answers:
        # Our odd arguments are refused, too.
        is_odd = isinstance(answer, ResponseError) and advice(answer) is None
        if isinstance(answer, Exception) and not is_odd:
            return answer
    return None
