"""The ledger in a Redis or Valkey, for all processes of all hosts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from ...concurrency.fork_hooks import begin_in_children
from ...models.ids import new_id
from ...network.rate_limit import BURST_SHARE, ROUNDING, WINDOW, rate_for
from ...network.redis import RedisClients
from ...network.redis.advice import described
from .shared import SEEN_EVERY, SEEN_FOR, LedgerError
from .window import News, Order, Spent

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


class RedisLedger:
    """The ledger contract in a script.

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
        self.begin_in_child()
        begin_in_children(self)

    @property
    def shown(self) -> str:
        return self._clients.shown

    def begin_in_child(self) -> None:
        """Take a new name after a fork: there is one more process."""
        self._user = new_id()
        # The first order registers the process, whenever it comes.
        self._seen_at = -math.inf

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
            *_arguments_of(order.news),
        )
        try:
            granted, wait, number, left, users = await self._run(arguments)
        except Exception as error:
            raise LedgerError(described(error)) from error
        return Spent(bool(granted), float(wait), number, left, users)

    async def warm(self) -> None:
        with suppress(RedisError, OSError):
            await self._clients.reach()

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def _run(self, arguments: Sequence[Any]) -> Any:
        rest = (2, *self._keys, *arguments)
        [answer] = await self._clients.ask(self._keys[0], [("EVALSHA", SHA, *rest)])
        if isinstance(answer, NoScriptError):
            # A server that was restarted, or has just become the primary.
            [answer] = await self._clients.ask(self._keys[0], [("EVAL", SPEND, *rest)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _seen(self, *, again: bool) -> str:
        """Return this process's name if it is time to register as present, else ""."""
        now = time.monotonic()
        if not again and now - self._seen_at < SEEN_EVERY:
            return ""
        self._seen_at = now
        return self._user


def _arguments_of(news: News | None) -> tuple[Any, ...]:
    if news is None:
        return ("", 0, 0, 0)
    return (news.number, news.remaining, repr(news.ends_in), int(news.refused))
