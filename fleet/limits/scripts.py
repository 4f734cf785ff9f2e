"""The atomic steps of the ledger in Redis, as Lua.

For each subject:
    calls   zset   call → end of its lease (ms of Redis' own clock)
    rate    hash   level (calls that may come at once) and at_ms
    spent   hash   window number and tokens in it
and one for all:
    seen    zset   subject, scored by when it was used last (ms)

Redis' clock is the only one, so that hosts need not agree on the time.

Whatever somebody else left here is put right: a key of another type is deleted, an amount that is
no number counts as absent.
"""

from __future__ import annotations

_BEGIN = """
local function fit(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then redis.call('DEL', key) end
end

local function number(text)
  local value = text and tonumber(text)
  -- Neither NaN, nor infinite, nor an integer that HINCRBY would overflow.
  if value and value == value and math.abs(value) < 2^53 then return value end
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: seen, then calls, rate, spent of each subject.
# ARGV: call, lease_ms, window_ms, then subject, calls, rate, depth, tokens of each subject, then of
# each option the numbers of its subjects from 0, as in "0 2".
# Returns the number from 0 of the first option that has room under all its subjects, where the call
# has its places now, else {subject number, reason, ms to wait} of the shortest wait.
ADMIT = (
    _BEGIN
    + """
local call, lease_ms, window_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local window = math.floor(now_ms / window_ms)
local subjects = (#KEYS - 1) / 3
local first_option = 4 + 5 * subjects
local levels = {}

fit(KEYS[1], 'zset')

local function refusal(i)
  local calls_key, rate_key, spent_key = KEYS[3 * i + 2], KEYS[3 * i + 3], KEYS[3 * i + 4]
  fit(calls_key, 'zset')
  fit(rate_key, 'hash')
  fit(spent_key, 'hash')
  local max_calls, rate = tonumber(ARGV[5 * i + 5]), tonumber(ARGV[5 * i + 6])
  local depth, max_tokens = tonumber(ARGV[5 * i + 7]), tonumber(ARGV[5 * i + 8])
  redis.call('ZREMRANGEBYSCORE', calls_key, '-inf', now_ms)
  if redis.call('ZSCORE', calls_key, call) then return nil end
  if max_tokens > 0 then
    local spent = redis.call('HMGET', spent_key, 'window', 'tokens')
    if number(spent[1]) == window and (number(spent[2]) or 0) >= max_tokens then
      return {i, 'tokens', (window + 1) * window_ms - now_ms}
    end
  end
  if max_calls > 0 and redis.call('ZCARD', calls_key) >= max_calls then
    return {i, 'calls', 0}
  end
  if rate > 0 then
    local before = redis.call('HMGET', rate_key, 'level', 'at_ms')
    local level, before_level, at_ms = depth, number(before[1]), number(before[2])
    if before_level and at_ms then
      -- Never below nothing: a level from elsewhere must not shut a subject out for days.
      local passed_ms = math.max(0, now_ms - at_ms)
      level = math.min(depth, math.max(0, before_level) + passed_ms * rate / 1000)
    end
    if level < 1 then return {i, 'rate', math.ceil((1 - level) * 1000 / rate)} end
    levels[i] = level - 1
  end
  return nil
end

local function take(i)
  local calls_key, rate_key = KEYS[3 * i + 2], KEYS[3 * i + 3]
  redis.call('ZADD', calls_key, now_ms + lease_ms, call)
  redis.call('PEXPIRE', calls_key, 2 * lease_ms)
  if levels[i] then
    -- By then it is full again.
    local full_ms = math.ceil(tonumber(ARGV[5 * i + 7]) * 1000 / tonumber(ARGV[5 * i + 6]))
    redis.call('HSET', rate_key, 'level', tostring(levels[i]), 'at_ms', now_ms)
    redis.call('PEXPIRE', rate_key, full_ms + 1000)
  end
  redis.call('ZADD', KEYS[1], now_ms, ARGV[5 * i + 4])
end

local refused = {}
for i = 0, subjects - 1 do refused[i] = refusal(i) end
local soonest
for option = first_option, #ARGV do
  local wanted, why = {}, nil
  for digits in string.gmatch(ARGV[option], '%d+') do
    local i = tonumber(digits)
    table.insert(wanted, i)
    why = why or refused[i]
  end
  if not why then
    for _, i in ipairs(wanted) do take(i) end
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - 2 * window_ms)
    redis.call('PEXPIRE', KEYS[1], 2 * window_ms)
    return option - first_option
  end
  if not soonest or why[3] < soonest[3] then soonest = why end
end
return soonest
"""
)

# KEYS: calls of one subject. ARGV: lease_ms, calls.
HOLD = (
    _BEGIN
    + """
fit(KEYS[1], 'zset')
local ends_ms = now_ms + tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends_ms, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[1]))
return 1
"""
)

# KEYS: spent of one subject. ARGV: window_ms, tokens. Returns the tokens in this window.
CHARGE = (
    _BEGIN
    + """
fit(KEYS[1], 'hash')
local window_ms = tonumber(ARGV[1])
local window = math.floor(now_ms / window_ms)
local spent = redis.call('HMGET', KEYS[1], 'window', 'tokens')
local tokens = number(spent[2])
-- Nothing but an integer can be added to.
if number(spent[1]) ~= window or not tokens or not string.match(spent[2], '^%d+$') then
  redis.call('HSET', KEYS[1], 'window', window, 'tokens', 0)
end
redis.call('PEXPIRE', KEYS[1], 2 * window_ms)
return redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[2])
"""
)

# KEYS: calls, spent of one subject. ARGV: window_ms. Returns {live calls, tokens}.
USAGE = (
    _BEGIN
    + """
fit(KEYS[1], 'zset')
fit(KEYS[2], 'hash')
local window = math.floor(now_ms / tonumber(ARGV[1]))
local spent = redis.call('HMGET', KEYS[2], 'window', 'tokens')
local tokens = number(spent[1]) == window and number(spent[2]) or 0
return {redis.call('ZCOUNT', KEYS[1], '(' .. now_ms, '+inf'), tokens}
"""
)

# KEYS: calls of one subject. ARGV: calls.
RELEASE = (
    _BEGIN
    + """
fit(KEYS[1], 'zset')
return redis.call('ZREM', KEYS[1], unpack(ARGV))
"""
)

# KEYS: seen. ARGV: most subjects. Returns those seen last; names that are too long are no subject.
SEEN = (
    _BEGIN
    + """
fit(KEYS[1], 'zset')
local found = {}
for _, subject in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  if #subject <= 80 then found[#found + 1] = subject end
end
return found
"""
)

# KEYS: changes. ARGV: most subjects. Returns {subject, sealed limits, …}, '' for what is too long
# and for all when there are so many that not all can be ours.
CHANGES = (
    _BEGIN
    + """
fit(KEYS[1], 'hash')
if redis.call('HLEN', KEYS[1]) > 4 * tonumber(ARGV[1]) then return {'', ''} end
local found = {}
for _, text in ipairs(redis.call('HGETALL', KEYS[1])) do
  found[#found + 1] = #text <= 4096 and text or ''
end
return found
"""
)

# KEYS: changes. ARGV: subject, sealed limits, most subjects. Returns 0 when there are too many.
CHANGE = (
    _BEGIN
    + """
fit(KEYS[1], 'hash')
local known = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
if not known and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
)
