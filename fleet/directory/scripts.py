"""The four atomic steps of the directory in Redis, as Lua.

    KEYS[1] holders  hash   index → owner token
    KEYS[2] records  hash   index → JSON {name, trunk, draining, admin, http}
    KEYS[3] epochs   hash   index → epoch, kept when the lease ends
    KEYS[4] expiry   zset   index, scored by the end of its lease (ms of Redis' own clock)
    KEYS[5] loads    hash   index → JSON [calls, capacity], which changes with every heartbeat

Redis' clock is the only one, so that hosts need not agree on the time. A change is published as
JSON [index, epoch, live, record]. Scripts run whole: nothing is ever half done.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# ARGV: channel, token, record, lease_ms, max_nodes, first epoch of an index never held before.
# Returns {index, epoch}, {-1, 0} when full. Asking again with one token returns the same lease:
# the client may repeat a call whose answer it did not get.
CLAIM = (
    _NOW
    + """
for _, index in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now_ms)) do
  redis.call('HDEL', KEYS[1], index)
  redis.call('HDEL', KEYS[2], index)
  redis.call('HDEL', KEYS[5], index)
  redis.call('ZREM', KEYS[4], index)
end
local held = redis.call('HGETALL', KEYS[1])
local taken = {}
for i = 1, #held, 2 do
  if held[i + 1] == ARGV[2] then
    return {tonumber(held[i]), tonumber(redis.call('HGET', KEYS[3], held[i]))}
  end
  taken[tonumber(held[i])] = true
end
local index = 0
while taken[index] do index = index + 1 end
if index >= tonumber(ARGV[5]) then return {-1, 0} end
local last = redis.call('HGET', KEYS[3], index)
local epoch = last and (tonumber(last) + 1) % 65536 or tonumber(ARGV[6])
redis.call('HSET', KEYS[1], index, ARGV[2])
redis.call('HSET', KEYS[2], index, ARGV[3])
redis.call('HSET', KEYS[3], index, epoch)
redis.call('ZADD', KEYS[4], now_ms + ARGV[4], index)
redis.call('PUBLISH', ARGV[1], cjson.encode({index, epoch, true, ARGV[3]}))
return {index, epoch}
"""
)

# ARGV: channel, token, record, lease_ms, index, epoch, load.
# Returns 1, or 0 when the lease is lost.
RENEW = (
    _NOW
    + """
local index, epoch = ARGV[5], ARGV[6]
local holder = redis.call('HGET', KEYS[1], index)
if holder and holder ~= ARGV[2] then return 0 end
local last = redis.call('HGET', KEYS[3], index)
if last and last ~= epoch then return 0 end
local ends_ms = redis.call('ZSCORE', KEYS[4], index)
local was_live = holder and ends_ms and tonumber(ends_ms) > now_ms
local unchanged = was_live and redis.call('HGET', KEYS[2], index) == ARGV[3]
redis.call('HSET', KEYS[1], index, ARGV[2])
redis.call('HSET', KEYS[2], index, ARGV[3])
redis.call('HSET', KEYS[3], index, epoch)
redis.call('HSET', KEYS[5], index, ARGV[7])
redis.call('ZADD', KEYS[4], now_ms + ARGV[4], index)
if not unchanged then
  redis.call('PUBLISH', ARGV[1],
             cjson.encode({tonumber(index), tonumber(epoch), true, ARGV[3]}))
end
return 1
"""
)

# ARGV: channel, token, record, index, epoch.
RELEASE = """
if redis.call('HGET', KEYS[1], ARGV[4]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[4])
redis.call('HDEL', KEYS[5], ARGV[4])
redis.call('ZREM', KEYS[4], ARGV[4])
redis.call('PUBLISH', ARGV[1],
           cjson.encode({tonumber(ARGV[4]), tonumber(ARGV[5]), false, ARGV[3]}))
return 1
"""

# Returns {index, epoch, record, load, …} of every unexpired lease.
SNAPSHOT = (
    _NOW
    + """
local found = {}
for _, index in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. now_ms, '+inf')) do
  found[#found + 1] = index
  found[#found + 1] = redis.call('HGET', KEYS[3], index)
  found[#found + 1] = redis.call('HGET', KEYS[2], index)
  found[#found + 1] = redis.call('HGET', KEYS[5], index)
end
return found
"""
)
