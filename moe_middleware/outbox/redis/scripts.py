"""The Lua scripts of a Redis outbox; Redis runs each as one transaction.

Longer than 350 lines: one Lua script per operation, and the functions they share.
"""

from __future__ import annotations

CHUNK = 500
"""The most events of one script, which blocks Redis for a few milliseconds. Claims may
be as large as ``MAX_CLAIM``."""

CHUNK_BYTES = 1_000_000
"""The bytes of events from which on a script gets no more."""

MAX_CLAIM = 1_000

CLOCK_TOLERANCE = 1.0
"""If a clock jumps back by more seconds, the leases are set back, too."""

FORGET_RELAYS_AFTER = 3_600.0
"""Seconds after which an idle relay is removed from the consumer group."""

WRITER_EXPIRES_AFTER = 86_400
"""Seconds for which Redis keeps the record of a silent process's last write."""

# Keys, always in this order:
# 1 events  the stream: waiting events in the order of their ids
# 2 queues  sorted set: every event that was read from the stream, by its queue
# 3 times   hash: the time when a leased or retried event is claimable
# 4 due     sorted set: every queue in `queues`, by its first event's time
# 5 owners  hash: the relay that holds all of a queue except its parked events
# 6 behind  sorted set: RELAY QUEUE where events are parked behind an owner's
# 7 dead    hash: dead letters
# 8 graves  sorted set: their ids, by age
# 9 seen    the latest time of a claim
# 10 writer the record of this process's last write
#
# An id is NUMBER-QUEUE. The number grows, and is the time of the append in
# microseconds. The queue is a digest of the customer: events of one queue are claimed
# in order. Customers that share one by chance only wait for each other.
#
# An event that is read while an earlier one of its queue is held is parked: it is in
# `queues`, and not in `times`. Parked events are the last ones of their queue. After
# the first event of a queue has gone, `settle` makes the queue due at the time of its
# new first event.
COMMON = """
local EVENTS, QUEUES, TIMES, DUE, OWNERS, BEHIND, DEAD, GRAVES, SEEN, WRITER =
  unpack(KEYS)
local GROUP = 'relay'
local call = redis.call

local function many(command, key, arguments, group)
  for from = 1, #arguments, 1000 do
    local to = math.min(from + 999, #arguments)
    if group then
      call(command, key, group, unpack(arguments, from, to))
    else
      call(command, key, unpack(arguments, from, to))
    end
  end
end

local function words(text)
  local found = {}
  for word in string.gmatch(text, '%S+') do found[#found + 1] = word end
  return found
end

local function number_of(id) return string.match(id, '^%d+') end

local function queue_of(id) return string.match(id, '%d+$') end

local function now_of(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function disown(queue)
  local owner = call('HGET', OWNERS, queue)
  if owner then
    call('HDEL', OWNERS, queue)
    call('ZREM', BEHIND, owner .. ' ' .. queue)
  end
end

local function first_of(queue)
  return call('ZRANGEBYSCORE', QUEUES, queue, queue, 'LIMIT', 0, 1)[1]
end

local function settle(ids)
  local settled, gone = {}, {}
  local is_any_behind = call('EXISTS', BEHIND) == 1
  for _, id in ipairs(ids) do
    local queue = queue_of(id)
    if not settled[queue] then
      settled[queue] = true
      local first = first_of(queue)
      if first then
        call('ZADD', DUE, call('HGET', TIMES, first) or 0, queue)
      else
        gone[#gone + 1] = queue
        if is_any_behind then disown(queue) end
      end
    end
  end
  many('ZREM', DUE, gone)
  many('HDEL', OWNERS, gone)
end

local function forget(ids)
  if #ids == 0 then return 0 end
  local before = call('XLEN', EVENTS)
  many('XDEL', EVENTS, ids)
  many('XACK', EVENTS, ids, GROUP)
  many('ZREM', QUEUES, ids)
  many('HDEL', TIMES, ids)
  settle(ids)
  return before - call('XLEN', EVENTS)
end

local function attempts_of(id)
  local held = redis.pcall('XPENDING', EVENTS, GROUP, id, id, 1)
  return not held.err and held[1] and held[1][4] or 0
end

local function next_number()
  local time = call('TIME')
  local number = tonumber(time[1]) * 1e6 + tonumber(time[2])
  local about = redis.pcall('XINFO', 'STREAM', EVENTS)
  for at = 1, about.err and 0 or #about, 2 do
    if about[at] == 'last-generated-id' then
      number = math.max(number, tonumber(number_of(about[at + 1])) + 1)
    end
  end
  return number
end

local function add(number, queue, body)
  local id = string.format('%.0f-%.0f', number, queue)
  call('XADD', EVENTS, id, 'body', body)
  return id
end

local function add_all(blob, count)
  local number, at = next_number(), 1
  for added = 0, count - 1 do
    local queue, size, from = struct.unpack('>I4I4', blob, at)
    at = from + size
    add(number + added, queue, string.sub(blob, from, at - 1))
  end
end

local function inter(id, letter)
  call('HSET', DEAD, id, letter)
  call('ZADD', GRAVES, number_of(id), id)
end

local function disinter(ids)
  if #ids == 0 then return 0 end
  local before = call('ZCARD', GRAVES)
  many('HDEL', DEAD, ids)
  many('ZREM', GRAVES, ids)
  return before - call('ZCARD', GRAVES)
end
"""

# Records of a journal that are sent again, because an answer was lost or the process
# died, are not written again. For the same reason the counts of refused and dropped
# events are the journal's totals.
APPEND = (
    COMMON
    + """
local first, last, after = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = tonumber(ARGV[4])
local refused, dropped = tonumber(ARGV[5]), tonumber(ARGV[6])
local most, when_full, now = tonumber(ARGV[7]), ARGV[8], ARGV[9]
local blob = ARGV[10]
local noted = string.gmatch(call('GET', WRITER) or '0 0 0', '%d+')
local stored = tonumber(noted())
if stored < known then
  stored = known
else
  refused, dropped = tonumber(noted()), tonumber(noted())
end
if after > stored then
  return redis.error_reply('MOE the batch before this one was not stored')
end

local function oldest_unheld(wanted)
  local ids, from, time = {}, '-', now_of(now)
  while #ids < wanted do
    local page = call('XRANGE', EVENTS, from, '+', 'COUNT', 100)
    if #page == 0 then break end
    for _, entry in ipairs(page) do
      local at = call('HGET', TIMES, entry[1])
      if #ids < wanted and not (at and tonumber(at) > time) then
        ids[#ids + 1] = entry[1]
      end
      from = '(' .. entry[1]
    end
  end
  return ids
end

if last > stored then
  local at = 1
  for _ = first, stored do
    local _, size, from = struct.unpack('>I4I4', blob, at)
    at = from + size
  end
  local count = last - math.max(first - 1, stored)
  local excess = math.max(0, call('XLEN', EVENTS) + count - most)
  if when_full == 'refuse' then
    local turned_away = math.min(excess, count)
    refused = refused + turned_away
    count = count - turned_away
  end
  if count > 0 then add_all(string.sub(blob, at), count) end
  if when_full == 'drop_oldest' and excess > 0 then
    dropped = dropped + forget(oldest_unheld(excess))
  end
  stored = last
end
-- Also if nothing is new: a WAIT is promised only for its own connection's writes.
local record = string.format('%.0f %.0f %.0f', stored, refused, dropped)
call('SET', WRITER, record, 'EX', ARGV[11])
return {refused, dropped}
"""
)

# The last stored event of a journal, and the totals of refused and dropped events.
STORED = (
    COMMON
    + """
local found = string.gmatch(call('GET', WRITER) or '0 0 0', '%d+')
return {tonumber(found()), tonumber(found()), tonumber(found())}
"""
)

# Due queues come first: their events are older than all unread ones.
CLAIM = (
    COMMON
    + """
local now, lease_for, limit = now_of(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local relay, consumer, tolerance = ARGV[4], ARGV[5], tonumber(ARGV[6])
local till = now + lease_for
local ids, attempts, sizes, bodies = {}, {}, {}, {}
local whole, passed_over = {}, 0

local back = tonumber(call('GET', SEEN) or 0) - now
if back > tolerance then
  local times = call('HGETALL', TIMES)
  for at = 1, #times, 2 do call('HINCRBYFLOAT', TIMES, times[at], -back) end
  settle(call('ZRANGE', DUE, 0, -1))
end

local function is_held(at) return at and tonumber(at) > now end

local function take(id, fields, count)
  local body = fields[2]
  ids[#ids + 1], attempts[#ids + 1] = id, count
  sizes[#ids], bodies[#ids] = #body, body
end

local function lease(id, at)
  local count = at and attempts_of(id) + 1 or 1
  local entry = call('XCLAIM', EVENTS, GROUP, consumer, 0, id,
    'RETRYCOUNT', count, 'FORCE')[1]
  if entry then
    take(id, entry[2], count)
    call('HSET', TIMES, id, till)
  else
    call('ZREM', QUEUES, id)
    call('HDEL', TIMES, id)
  end
end

local function in_queue(queue, from, count)
  return call('ZRANGEBYSCORE', QUEUES, queue, queue, 'LIMIT', from, count)
end

local function take_queue(queue)
  local wanted = limit - #ids
  local rest = nil
  for place, id in ipairs(in_queue(queue, 0, wanted + 1)) do
    local at = call('HGET', TIMES, id)
    if place > wanted or is_held(at) then
      rest = at and 'held' or 'parked'
      break
    end
    lease(id, at)
  end
  disown(queue)
  if relay ~= '' and rest ~= 'held' then
    call('HSET', OWNERS, queue, relay)
    if rest then call('ZADD', BEHIND, 0, relay .. ' ' .. queue) end
  end
  whole[queue] = not rest
  settle({queue})
end

local function take_parked(queue)
  local from = 0
  while #ids < limit do
    local page = in_queue(queue, from, 200)
    for _, id in ipairs(page) do
      if #ids < limit and not call('HGET', TIMES, id) then lease(id) end
    end
    from = from + #page
    if #page < 200 then
      if #ids < limit then call('ZREM', BEHIND, relay .. ' ' .. queue) end
      break
    end
  end
end

local function read(count)
  local command = {'XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count,
    'STREAMS', EVENTS, '>'}
  local found = redis.pcall(unpack(command))
  if found and found.err then
    call('XGROUP', 'CREATE', EVENTS, GROUP, '0', 'MKSTREAM')
    found = call(unpack(command))
  end
  return found and found[1] and found[1][2] or {}
end

local function may_take(queue)
  if whole[queue] ~= nil then return whole[queue], false end
  if not call('ZSCORE', DUE, queue) then return true, true end
  return relay ~= '' and call('HGET', OWNERS, queue) == relay
    and not call('ZSCORE', BEHIND, relay .. ' ' .. queue), false
end

local function park(queue)
  local owner = call('HGET', OWNERS, queue)
  if owner then call('ZADD', BEHIND, 0, owner .. ' ' .. queue) end
  whole[queue] = false
  passed_over = passed_over + 1
end

local queues = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)
for _, queue in ipairs(queues) do
  if #ids < limit then take_queue(queue) end
end

if relay ~= '' then
  local mine = call('ZRANGEBYLEX', BEHIND, '[' .. relay .. ' ', '(' .. relay .. '!')
  for _, member in ipairs(mine) do
    local queue = queue_of(member)
    if #ids < limit and call('HGET', OWNERS, queue) == relay then take_parked(queue) end
  end
end

while #ids < limit and passed_over < 1000 do
  local entries = read(limit - #ids)
  if #entries == 0 then break end
  local in_queues, in_times, in_due, in_owners = {}, {}, {}, {}
  local function put(where, one, other)
    where[#where + 1] = one
    where[#where + 1] = other
  end
  for _, entry in ipairs(entries) do
    local id = entry[1]
    local queue = queue_of(id)
    put(in_queues, queue, id)
    local is_free, is_new = may_take(queue)
    if is_free then
      take(id, entry[2], 1)
      put(in_times, id, till)
      if is_new then
        put(in_due, till, queue)
        if relay ~= '' then put(in_owners, queue, relay) end
      end
      whole[queue] = true
    else
      park(queue)
    end
  end
  many('ZADD', QUEUES, in_queues)
  many('HSET', TIMES, in_times)
  many('ZADD', DUE, in_due)
  many('HSET', OWNERS, in_owners)
end
if #ids > 0 or back > tolerance then call('SET', SEEN, now) end
local may_be_more = (#ids == limit or passed_over >= 1000) and 1 or 0
return {table.concat(ids, ' '), table.concat(attempts, ' '),
  table.concat(sizes, ' '), table.concat(bodies), may_be_more}
"""
)

ACK = COMMON + "return forget(words(ARGV[1]))"

# Both a retry and a longer lease; after a retry the queue has no owner.
HOLD = (
    COMMON
    + """
local ids, till, is_retry = words(ARGV[1]), now_of(ARGV[2]) + ARGV[3], ARGV[4] == '1'
local held = {}
for _, id in ipairs(ids) do
  if call('HEXISTS', TIMES, id) == 1 then
    held[#held + 1] = id
    call('HSET', TIMES, id, till)
    if is_retry then disown(queue_of(id)) end
  end
end
settle(held)
return #held
"""
)

BURY = (
    COMMON
    + """
local ids, now, reason = words(ARGV[1]), now_of(ARGV[2]), ARGV[3]
local buried, letters = {}, {}
for _, id in ipairs(ids) do
  local entry = call('XRANGE', EVENTS, id, id)[1]
  if entry then
    buried[#buried + 1] = id
    letters[#buried] = struct.pack('>dI4I4', now, attempts_of(id), #reason)
      .. reason .. entry[2][2]
  end
end
forget(ids)
for at, id in ipairs(buried) do inter(id, letters[at]) end
return #buried
"""
)

# An empty list of ids stands for all of them.
REPLAY = (
    COMMON
    + """
local ids = words(ARGV[2])
if #ids == 0 then ids = call('ZRANGE', GRAVES, 0, ARGV[1] - 1) end
local number, replayed = next_number(), {}
for _, id in ipairs(ids) do
  local letter = call('HGET', DEAD, id)
  if letter then
    local _, _, size, from = struct.unpack('>dI4I4', letter)
    add(number + #replayed, queue_of(id), string.sub(letter, from + size))
    replayed[#replayed + 1] = id
  end
end
disinter(replayed)
return #replayed
"""
)

PURGE_WAITING = (
    COMMON
    + """
local ids = words(ARGV[2])
if #ids == 0 then
  for at, entry in ipairs(call('XRANGE', EVENTS, '-', '+', 'COUNT', ARGV[1])) do
    ids[at] = entry[1]
  end
end
return forget(ids)
"""
)

PURGE_DEAD = (
    COMMON
    + """
local ids = words(ARGV[2])
if #ids == 0 then ids = call('ZRANGE', GRAVES, 0, ARGV[1] - 1) end
return disinter(ids)
"""
)

WAITING = (
    COMMON
    + """
local found = {}
for at, entry in ipairs(call('XRANGE', EVENTS, ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  local id = entry[1]
  local at_time = call('HGET', TIMES, id)
  found[at] = {id, entry[2][2], at_time and attempts_of(id) or 0, at_time or '0'}
end
return found
"""
)

DEAD_LETTERS = (
    COMMON
    + """
local found = {}
local ids = call('ZREVRANGEBYSCORE', GRAVES, ARGV[1], '-inf', 'LIMIT', 0, ARGV[2])
for at, id in ipairs(ids) do found[at] = {id, call('HGET', DEAD, id)} end
return found
"""
)

DEAD_LETTER = (
    COMMON
    + """
local letter = call('HGET', DEAD, ARGV[1])
return letter and {{ARGV[1], letter}} or {}
"""
)

COUNT = COMMON + "return {call('XLEN', EVENTS), call('HLEN', DEAD)}"

RESTORE_WAITING = COMMON + "add_all(ARGV[2], tonumber(ARGV[1]))"

RESTORE_DEAD = (
    COMMON
    + """
local number = next_number()
for at = 1, #ARGV, 2 do
  local id = add(number + at, ARGV[at], '')
  call('XDEL', EVENTS, id)
  inter(id, ARGV[at + 1])
end
"""
)

# A small write fails on a full Redis and on a replica; a read does not.
TRY_TO_WRITE = COMMON + "call('SET', WRITER, ARGV[1], 'EX', 60)"

# The writer's record of this name has the notes of processes.
PROCESSES = "processes"

# Arguments: the number of expected pairs, then the expected and the new pairs of names
# and notes.
REPLACE_NOTES = (
    COMMON
    + """
local expected = tonumber(ARGV[1])
for at = 2, expected + 1, 2 do
  if (call('HGET', WRITER, ARGV[at]) or '') ~= ARGV[at + 1] then return 0 end
end
for at = expected + 2, #ARGV, 2 do
  if ARGV[at + 1] == '' then call('HDEL', WRITER, ARGV[at])
  else call('HSET', WRITER, ARGV[at], ARGV[at + 1]) end
end
return 1
"""
)

NOTES = COMMON + "return call('HGETALL', WRITER)"

TIDY = (
    COMMON
    + """
local relays = redis.pcall('XINFO', 'CONSUMERS', EVENTS, GROUP)
for _, about in ipairs(relays.err and {} or relays) do
  local relay = {}
  for at = 1, #about, 2 do relay[about[at]] = about[at + 1] end
  if relay.pending == 0 and relay.idle > tonumber(ARGV[1]) * 1000 then
    call('XGROUP', 'DELCONSUMER', EVENTS, GROUP, relay.name)
  end
end
"""
)
