"""The ledger in a Redis or Valkey, for all processes of all hosts."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from hashlib import sha1
from typing import Any, cast
from weakref import WeakSet

from redis.exceptions import NoScriptError, RedisError

from ..fork_hooks import register_fork_hooks
from ..gcra import ROUNDING, WINDOW
from ..ids import new_id
from ..redis_clients import RedisClients
from .shared import LedgerError, Order, Spent

SEEN_EVERY = 10.0
SEEN_FOR = 30.0
"""How often a process says that it is there, and how long that holds, in seconds."""

# The same arithmetic as gcra.spend, where all hosts' calls meet; the tests run both.
SPEND = f"""
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1000000
end
local cost, ahead, interval = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local closed_for, returning, user = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7]

local kept = redis.call('HMGET', KEYS[1], 'used_until', 'closed_until')
local used_until = tonumber(kept[1] or '') or 0
local closed_until = tonumber(kept[2] or '') or 0

if closed_for > 0 then
    closed_until = math.max(closed_until, now + closed_for)
end
if returning then
    used_until = math.max(used_until, now + ahead - interval)
end
local wait = 0
if now < closed_until and closed_until <= now + {WINDOW} then
    wait = closed_until - now
else
    used_until = math.min(math.max(used_until, now), now + ahead)
    wait = used_until + cost - now - math.max(ahead, cost)
    if wait <= interval * {ROUNDING} then
        used_until = used_until + cost
        wait = 0
    end
end
redis.call('HSET', KEYS[1], 'used_until', string.format('%.17g', used_until),
    'closed_until', string.format('%.17g', closed_until))
redis.call('EXPIRE', KEYS[1], {2 * WINDOW:.0f})

local users = 0
if user ~= '' then
    redis.call('ZADD', KEYS[2], now, user)
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - {SEEN_FOR})
    redis.call('EXPIRE', KEYS[2], {2 * WINDOW:.0f})
    users = redis.call('ZCARD', KEYS[2])
end
return {{string.format('%.9f', wait), users}}
"""
SHA = sha1(SPEND.encode(), usedforsecurity=False).hexdigest()


class RedisLedger:
    """The ledger contract in one script: one round trip for an order.

    Args:
        clients: Reach the server.
        name: Which budget it is.
        clock: The time, in unix seconds; None takes the server's own, so that the
            hosts' clocks may differ.
    """

    def __init__(
        self,
        clients: RedisClients,
        name: str,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clients = clients
        # The braces keep both keys on one node of a cluster.
        self._keys = (f"moe:{{budget:{name}}}", f"moe:{{budget:{name}}}:users")
        self._clock = clock
        self._forget()
        _ledgers.add(self)

    @property
    def shown(self) -> str:
        return self._clients.shown

    def _forget(self) -> None:
        """Be somebody else: after a fork there is one process more."""
        self._user = new_id()
        self._seen_at = -math.inf

    async def spend(self, order: Order) -> Spent:
        rate = order.rate
        arguments = (
            "" if self._clock is None else repr(self._clock()),
            repr(order.calls * rate.interval),
            repr(rate.ahead),
            repr(rate.interval),
            repr(order.closed_for),
            int(order.returning),
            self._seen(again=order.returning),
        )
        try:
            wait, users = await self._run(arguments)
            return Spent(float(wait), int(users))
        except (RedisError, OSError, ValueError) as error:
            raise LedgerError(type(error).__name__) from error

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def _run(self, arguments: tuple[Any, ...]) -> tuple[bytes, int]:
        client = self._clients.current()
        try:
            return await cast(
                "Awaitable[tuple[bytes, int]]",
                client.evalsha(SHA, 2, *self._keys, *arguments),
            )
        except NoScriptError:
            return await cast(
                "Awaitable[tuple[bytes, int]]",
                client.eval(SPEND, 2, *self._keys, *arguments),
            )

    def _seen(self, *, again: bool) -> str:
        """Return this process's name where it is time to say that it is there."""
        now = time.monotonic()
        if not again and now - self._seen_at < SEEN_EVERY:
            return ""
        self._seen_at = now
        return self._user


_ledgers: WeakSet[RedisLedger] = WeakSet()


def _forget_after_fork() -> None:
    for ledger in list(_ledgers):
        ledger._forget()


register_fork_hooks(after_in_child=_forget_after_fork)
