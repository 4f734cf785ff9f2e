"""The atomic steps of the directory in Redis, as Lua.

    KEYS[1] holders  hash   index → owner token
    KEYS[2] records  hash   index → sealed record (`node_record`), renewed by every heartbeat
    KEYS[3] epochs   hash   index → epoch, kept when the lease ends
    KEYS[4] expiry   zset   index, scored by the end of its lease (ms of Redis' own clock)
    KEYS[5] states   hash   index → what watchers were last told of, as the owner names it

Redis' clock decides alone when a lease ends, so that hosts need not agree on the time. A change is
published as the sealed record itself. Scripts run whole: nothing is ever half done.

Whatever somebody else left here is put right or passed over: a key of another type is deleted, a
number that is none counts as absent, a record that is too long is not handed out.
"""

from __future__ import annotations

LARGEST_RECORD = 4096  # characters

_BEGIN = """
for i, kind in ipairs({'hash', 'hash', 'hash', 'zset', 'hash'}) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= kind then redis.call('DEL', KEYS[i]) end
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function number(text)
  local value = text and string.match(text, '^%d+$') and tonumber(text)
  if value and value < 65536 then return value end
end

local function forget(index)
  for _, i in ipairs({1, 2, 5}) do redis.call('HDEL', KEYS[i], index) end
  redis.call('ZREM', KEYS[4], index)
end
"""

# ARGV: token, lease_ms, max_nodes, first index to try, first epoch of an index never held before.
# Returns {index, epoch}, {-1, 0} when full. Asking again with one token returns the same lease:
# the client may repeat a call whose answer it did not get. Nobody hears of the node before its
# first renewal, which brings the record.
CLAIM = (
    _BEGIN
    + """
for _, index in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now_ms)) do forget(index) end
local held = redis.call('HGETALL', KEYS[1])
local taken = {}
for i = 1, #held, 2 do
  local index = number(held[i])
  local epoch = index and number(redis.call('HGET', KEYS[3], held[i]))
  if held[i + 1] == ARGV[1] and epoch then return {index, epoch} end
  -- Only a lease that will end may keep an index from others.
  if index and redis.call('ZSCORE', KEYS[4], held[i]) then
    taken[index] = true
  else
    forget(held[i])
  end
end
local index, tried, max_nodes = tonumber(ARGV[4]), 0, tonumber(ARGV[3])
while taken[index] and tried < max_nodes do
  index, tried = (index + 1) % max_nodes, tried + 1
end
if tried >= max_nodes then return {-1, 0} end
local last = number(redis.call('HGET', KEYS[3], index))
local epoch = last and (last + 1) % 65536 or tonumber(ARGV[5])
redis.call('HSET', KEYS[1], index, ARGV[1])
redis.call('HSET', KEYS[3], index, epoch)
redis.call('ZADD', KEYS[4], now_ms + ARGV[2], index)
return {index, epoch}
"""
)

# ARGV: token, lease_ms, index, epoch, record, state, channel, force.
# Returns 1, or the record of whoever has the index ('' for none) when it is not ours.
RENEW = (
    _BEGIN
    + """
local index, epoch = ARGV[3], ARGV[4]
local holder = redis.call('HGET', KEYS[1], index)
local last = redis.call('HGET', KEYS[3], index)
if ARGV[8] ~= '1' and ((holder and holder ~= ARGV[1]) or (number(last) and last ~= epoch)) then
  local record = redis.call('HGET', KEYS[2], index)
  return record and #record <= LARGEST and record or ''
end
local ends_ms = redis.call('ZSCORE', KEYS[4], index)
local was_live = holder and ends_ms and tonumber(ends_ms) > now_ms
local unchanged = was_live and redis.call('HGET', KEYS[5], index) == ARGV[6]
redis.call('HSET', KEYS[1], index, ARGV[1])
redis.call('HSET', KEYS[2], index, ARGV[5])
redis.call('HSET', KEYS[3], index, epoch)
redis.call('HSET', KEYS[5], index, ARGV[6])
redis.call('ZADD', KEYS[4], now_ms + ARGV[2], index)
if not unchanged then redis.call('PUBLISH', ARGV[7], ARGV[5]) end
return 1
""".replace("LARGEST", str(LARGEST_RECORD))
)

# ARGV: token, index, record, channel. The record says that the owner is gone, and stays as proof
# that there was one.
RELEASE = (
    _BEGIN
    + """
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[1] then return 0 end
forget(ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[3])
return 1
"""
)

# ARGV: index, epoch, the epoch after it, record, channel. The record says that the owner is gone,
# and stays as proof that it was taken for dead. Returns 1, or 0 when that epoch is over already.
FENCE = (
    _BEGIN
    + """
local last = redis.call('HGET', KEYS[3], ARGV[1])
if number(last) and last ~= ARGV[2] then return 0 end
forget(ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[4])
return 1
"""
)

# Returns {index, record, …} of every unexpired lease that has a record; '' for one too long.
SNAPSHOT = (
    _BEGIN
    + """
local found = {}
local leased = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. now_ms, '+inf', 'LIMIT', 0, 65536)
for _, index in ipairs(leased) do
  local record = redis.call('HGET', KEYS[2], index)
  if record then
    found[#found + 1] = #index <= 5 and index or ''
    found[#found + 1] = #record <= LARGEST and record or ''
  end
end
return found
""".replace("LARGEST", str(LARGEST_RECORD))
)
