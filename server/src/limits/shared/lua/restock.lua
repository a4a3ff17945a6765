-- Puts back what an instance has used of limits of one hash tag, after Redis has lost it or was restored with what was true once.
--
-- KEYS: the counts. ARGV: this instance's id, since when this Redis counts, whether that is a moment ago (1), then for each count
-- four values: kind, window in microseconds, max, and what this instance has used. The first instance to come clears what it
-- finds, unless it comes so late that others have counted there since; each puts back its own, and once: `e` says since when,
-- `e:ID` who has been here. Answers how many counts were put back.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local mine, since = 'e:' .. ARGV[1], ARGV[2]
local counts = 0

for at, key in ipairs(KEYS) do
  local base = 3 + (at - 1) * 4
  local kind, window, max = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local used = tonumber(ARGV[base + 4])
  local there = redis.call('HMGET', key, 'e', mine)
  if there[1] ~= since and ARGV[3] == '1' then redis.call('DEL', key) end
  if there[1] ~= since or not there[2] then
    counts = counts + 1
    local kept = put(key, kind, window, max, used, now)
    redis.call('HSET', key, 'e', since, mine, '1')
    redis.call('PEXPIRE', key, math.ceil(kept / 1000) + 1000)
  end
end
return counts
