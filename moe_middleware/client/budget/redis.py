"""The ledger in a Redis or Valkey, for all processes of all hosts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any
from weakref import WeakSet

from redis.exceptions import NoScriptError

from ...concurrency.event_loops import PerLoop
from ...concurrency.fork_hooks import register_fork_hooks
from ...models.ids import new_id
from ...network.rate_limit import BURST_SHARE, ROUNDING, WINDOW, rate_for
from ...network.redis import RedisClients
from .shared import LedgerError
from .window import News, Order, Spent

SEEN_EVERY = 10.0
SEEN_FOR = 30.0
"""How often a process registers as present, and how long that lasts, in seconds."""

# The arithmetic of window.Window, run in the server; the tests compare the two.
SPEND = f"""
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1000000
end
local limit, fixed = tonumber(ARGV[2]), ARGV[3] == '1'
local interval, burst, within = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local more, user = tonumber(ARGV[7]), ARGV[8]
local news, remaining = tonumber(ARGV[9]), tonumber(ARGV[10])
local refused = ARGV[12] == '1'

local kept, slots, changed = {{}}, {{}}, {{}}
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
    local second, value = tonumber(held[i]), tonumber(held[i + 1])
    if not second then
        kept[held[i]] = value
    elseif value and now - {WINDOW} < second + 1 and second <= now then
        slots[second] = value
    else
        redis.call('HDEL', KEYS[1], held[i])
    end
end
local function get(name) return kept[name] or 0 end
local function ahead(moment) return now < moment and moment <= now + {WINDOW} end
local function note(calls)
    local second = math.floor(now)
    slots[second] = (slots[second] or 0) + calls
    kept.total = get('total') + calls
    changed[#changed + 1] = string.format('%d', second)
    changed[#changed + 1] = slots[second]
end

if more > 0 then note(more) end
if news then
    kept.total = math.max(get('total'), news)
    local heeded, ends_at = true, now + tonumber(ARGV[11])
    if refused then
        local closed = get('closed_until')
        if closed > now + {WINDOW} then closed = 0 end
        kept.closed_until = math.max(closed, ends_at)
    elseif news < get('number') and ahead(get('ends_at')) then
        heeded = false
    end
    if heeded then
        kept.number, kept.remaining = math.max(get('number'), news), remaining
        kept.ends_at = ends_at
    end
end

local granted, wait, left = 0, 0, 0
if ahead(get('closed_until')) then
    wait = get('closed_until') - now
else
    local known = ahead(get('ends_at'))
    local begun = known and get('ends_at') - {WINDOW} or get('ends_at')
    if begun <= now - {WINDOW} or begun > now then begun = now - {WINDOW} end
    local own, oldest = limit, nil
    for second, calls in pairs(slots) do
        if begun < second + 1 then own = own - calls end
        if not oldest or second < oldest then oldest = second end
    end
    left = own
    if known then
        left = math.min(get('remaining'), limit) - (get('total') - get('number'))
        if fixed then left = math.min(left, own) end
    end
    if left < 1 then
        left = 0
        wait = math.max((oldest or now) + 1 + {WINDOW}, now + {ROUNDING}) - now
        if known then wait = get('ends_at') - now end
    else
        if interval > 0 then
            if known then
                interval = math.max(interval, (get('ends_at') - now) / left)
                burst = math.max(1, math.min(burst, math.floor(left * {BURST_SHARE})))
            end
            local start = get('used_until')
            if start > now + {WINDOW} then start = 0 end
            start = math.max(start, now)
            wait = start + interval - now - interval * burst
            if wait <= interval * {ROUNDING} then wait = 0 end
            kept.used_until = wait <= within and start + interval or start
        end
        if wait <= within then
            note(1)
            granted, left = 1, left - 1
        end
    end
end
for name, value in pairs(kept) do
    changed[#changed + 1] = name
    changed[#changed + 1] = string.format('%.17g', value)
end
if #changed > 0 then redis.call('HSET', KEYS[1], unpack(changed)) end
redis.call('EXPIRE', KEYS[1], {2 * WINDOW:.0f})

local users = 0
if user ~= '' then
    redis.call('ZADD', KEYS[2], now, user)
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - {SEEN_FOR})
    redis.call('EXPIRE', KEYS[2], {2 * WINDOW:.0f})
    users = redis.call('ZCARD', KEYS[2])
end
return {{granted, string.format('%.9f', wait), get('total'), left, users}}
"""
SHA = sha1(SPEND.encode(), usedforsecurity=False).hexdigest()


_Answer = tuple[int, bytes, int, int, int]
_Arguments = tuple[Any, ...]

MAX_GROUP = 500
"""Orders in one round trip at most."""


@dataclass(slots=True)
class _Queue:
    """One event loop's orders that have not been sent."""

    waiting: list[tuple[_Arguments, asyncio.Future[_Answer]]] = field(
        default_factory=list
    )
    sending: asyncio.Task[None] | None = None


async def _stop(orders: _Queue) -> None:
    if orders.sending is not None:
        orders.sending.cancel()
        await asyncio.wait([orders.sending])


class RedisLedger:
    """The ledger contract in a script.

    Orders that arrive during a round trip go together in the next one. No order waits
    for a connection, and a page that gives up does not affect the orders of others.

    Args:
        clients: The connections to the server.
        name: The name of the budget.
        clock: The time, in unix seconds; None takes the server's, so that the hosts'
            clocks may differ.
    """

    def __init__(
        self,
        clients: RedisClients,
        name: str,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clients = clients
        # Braces keep both keys on one node of a cluster.
        prefix = f"moe:{{budget:{name}}}"
        self._keys = (f"{prefix}:window", f"{prefix}:users")
        self._clock = clock
        self._queues: PerLoop[_Queue] = PerLoop(_Queue, end=_stop)
        self._forget()
        _ledgers.add(self)

    @property
    def shown(self) -> str:
        return self._clients.shown

    def _forget(self) -> None:
        """Take a new name after a fork: there is one more process."""
        self._user = new_id()
        self._seen_at = -math.inf
        # The parent's tasks must be neither cancelled nor destroyed here.
        self._parents = self._queues.let_go()

    async def spend(self, order: Order) -> Spent:
        rate = rate_for(order.limit) if order.smooth else None
        arguments = (
            "" if self._clock is None else repr(self._clock()),
            order.limit,
            int(order.fixed),
            repr(rate.interval) if rate is not None else 0,
            rate.burst if rate is not None else 0,
            repr(order.within),
            order.more,
            self._seen(again=order.more > 0),
            *_told(order.news),
        )
        orders, loop = self._queues.current(), asyncio.get_running_loop()
        answered: asyncio.Future[_Answer] = loop.create_future()
        orders.waiting.append((arguments, answered))
        if orders.sending is None:
            orders.sending = loop.create_task(self._send(orders), name="moe-budget")
        try:
            granted, wait, number, left, users = await answered
            return Spent(bool(granted), float(wait), number, left, users)
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(type(error).__name__) from error

    async def aclose(self) -> None:
        if (orders := self._queues.pop()) is not None:
            await _stop(orders)
        await self._clients.aclose()

    async def _send(self, orders: _Queue) -> None:
        group: list[tuple[_Arguments, asyncio.Future[_Answer]]] = []
        try:
            while group := orders.waiting[:MAX_GROUP]:
                del orders.waiting[:MAX_GROUP]
                try:
                    answers = await self._run([arguments for arguments, _ in group])
                except Exception as error:
                    answers = [error] * len(group)
                for (_, answered), answer in zip(group, answers, strict=True):
                    _settle(answered, answer)
        finally:
            orders.sending = None
            for _, answered in (*group, *orders.waiting):
                _settle(answered, LedgerError("it was closed"))

    async def _run(self, orders: Sequence[_Arguments]) -> list[_Answer | Exception]:
        pipeline = self._clients.current().pipeline(transaction=False)
        for arguments in orders:
            pipeline.evalsha(SHA, 2, *self._keys, *arguments)
        answers = await pipeline.execute(raise_on_error=False)
        if not any(isinstance(answer, NoScriptError) for answer in answers):
            return answers
        # A restarted server has lost the script, and ran none or only some of these.
        for at, arguments in enumerate(orders):
            if isinstance(answers[at], NoScriptError):
                pipeline.eval(SPEND, 2, *self._keys, *arguments)
        again = iter(await pipeline.execute(raise_on_error=False))
        return [
            next(again) if isinstance(answer, NoScriptError) else answer
            for answer in answers
        ]

    def _seen(self, *, again: bool) -> str:
        """Return this process's name if it is time to register as present, else ""."""
        now = time.monotonic()
        if not again and now - self._seen_at < SEEN_EVERY:
            return ""
        self._seen_at = now
        return self._user


def _settle(answered: asyncio.Future[_Answer], answer: _Answer | Exception) -> None:
    # The caller may have given up.
    if answered.done():
        return
    if isinstance(answer, Exception):
        answered.set_exception(answer)
    else:
        answered.set_result(answer)


def _told(news: News | None) -> tuple[Any, ...]:
    if news is None:
        return ("", 0, 0, 0)
    return (news.number, news.remaining, repr(news.ends_in), int(news.refused))


_ledgers: WeakSet[RedisLedger] = WeakSet()


def _forget_after_fork() -> None:
    for ledger in list(_ledgers):
        ledger._forget()


register_fork_hooks(after_in_child=_forget_after_fork)
