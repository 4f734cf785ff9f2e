"""Scripts for checkpoints of calls. Each runs alone in Redis, so what one does is done at once.

Keys of PUT: the calls of the owner, and the directory's epochs. Of TAKE and GIVE_BACK: the calls of
a lost owner, who has taken which of them, and the directory's epochs. Of KEEP: the first two, and
the calls of the taker.

    calls   hash: call → what changes of it, call/session → what does not; sealed texts
    taken   hash: call → "TAKER UNTIL_MS"

Others may write to Redis, so a key of another type is removed first, and what is too long is read
as empty.
"""

from __future__ import annotations

_BEGIN = """
for i = 1, 2 do
  local found = KEYS[i] and redis.call('TYPE', KEYS[i]).ok
  if found and found ~= 'none' and found ~= 'hash' then redis.call('DEL', KEYS[i]) end
end
local function session_of(call) return call .. '/session' end
local function forget(key, call) redis.call('HDEL', key, call, session_of(call)) end
"""

# ARGV: node, epoch, ttl_ms, how many calls have ended, those, then for each live call: id, state,
# session or ''. Returns the calls whose session is not there. Nothing is written for an owner that
# was fenced: its calls are of others by now, and old counters must not come back as new ones.
PUT = (
    _BEGIN
    + """
local last = redis.call('HGET', KEYS[2], ARGV[1])
if last and last ~= ARGV[2] then return {} end
local ended = tonumber(ARGV[4])
for i = 5, 4 + ended do forget(KEYS[1], ARGV[i]) end
local missing = {}
for i = 5 + ended, #ARGV, 3 do
  local call, session = ARGV[i], ARGV[i + 2]
  redis.call('HSET', KEYS[1], call, ARGV[i + 1])
  if session ~= '' then
    redis.call('HSET', KEYS[1], session_of(call), session)
  elseif redis.call('HEXISTS', KEYS[1], session_of(call)) == 0 then
    missing[#missing + 1] = call
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return missing
"""
)

# ARGV: node, epoch, taker, how long the taker has, how many at most, the longest text.
# Returns {call, state, session, …} of calls that nobody else is about to have; none before the
# owner was fenced.
TAKE = (
    _BEGIN
    + """
local last = redis.call('HGET', KEYS[3], ARGV[1])
if not last or last == ARGV[2] then return {} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local most, longest, found = tonumber(ARGV[5]), tonumber(ARGV[6]), {}
local function text(field)
  local length = redis.call('HSTRLEN', KEYS[1], field)
  return length <= longest and redis.call('HGET', KEYS[1], field) or ''
end
for _, call in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #found >= 3 * most then break end
  local mark = redis.call('HGET', KEYS[2], call)
  local until_ms = mark and tonumber(string.match(mark, ' (%d+)$'))
  if not string.find(call, '/', 1, true) and not (until_ms and until_ms > now_ms) then
    redis.call('HSET', KEYS[2], call, ARGV[3] .. ' ' .. string.format('%d', now_ms + ARGV[4]))
    found[#found + 1] = call
    found[#found + 1] = text(call)
    found[#found + 1] = text(session_of(call))
  end
end
redis.call('PEXPIRE', KEYS[2], 60000)
return found
"""
)

# ARGV: taker, ttl_ms, then for each call: id, state, session. Returns the calls that are the
# taker's now: all but those that somebody else took meanwhile, because this one was late.
KEEP = (
    _BEGIN
    + """
local mine, kept = ARGV[1] .. ' ', {}
for i = 3, #ARGV, 3 do
  local call = ARGV[i]
  local mark = redis.call('HGET', KEYS[2], call)
  if mark and string.sub(mark, 1, #mine) == mine then
    redis.call('HSET', KEYS[3], call, ARGV[i + 1], session_of(call), ARGV[i + 2])
    forget(KEYS[1], call)
    redis.call('HDEL', KEYS[2], call)
    kept[#kept + 1] = call
  elseif redis.call('HGET', KEYS[3], call) == ARGV[i + 1] then  -- asked again: the answer was lost
    kept[#kept + 1] = call
  end
end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return kept
"""
)

# ARGV: taker, how many calls are for others, those, then those that are for nobody.
GIVE_BACK = (
    _BEGIN
    + """
local mine = ARGV[1] .. ' '
for i = 3, #ARGV do
  local mark = redis.call('HGET', KEYS[2], ARGV[i])
  if mark and string.sub(mark, 1, #mine) == mine then
    redis.call('HDEL', KEYS[2], ARGV[i])
    if i > 2 + tonumber(ARGV[2]) then forget(KEYS[1], ARGV[i]) end
  end
end
return 1
"""
)
