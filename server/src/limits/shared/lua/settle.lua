-- Puts what calls really were in the place of what was taken for them, on limits of one hash tag.
--
-- KEYS: where the last batch of this instance is noted, then one for each item. ARGV: this instance's id, the batch's number,
-- then for each item six values: kind, window in microseconds, max, the place that was counted in ('' where nothing was counted
-- here: the instance let calls through on its own), what was taken, what it really was. Answers 1, or 0 where the batch was
-- here before: so one that is sent twice counts once.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local instance, batch = ARGV[1], tonumber(ARGV[2])
if (tonumber(redis.call('GET', KEYS[1])) or -1) >= batch then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f', batch), 'EX', 3600)

for at = 2, #KEYS do
  local key = KEYS[at]
  local base = 2 + (at - 2) * 6
  local kind, window, max = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local place, taken, actual = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5]), tonumber(ARGV[base + 6])
  if kind == 'b' or kind == 'l' then
    local state = redis.call('HMGET', key, 'd', 't', 's', 'm')
    local owed = tonumber(state[1]) or 0
    local passed = math.max(0, now - (tonumber(state[2]) or now))
    -- While there are slices it is never fuller than this; see take.lua.
    local least = now < (tonumber(state[3]) or 0) and tonumber(state[4]) or 0
    owed = math.max(least, math.max(least, owed - passed * max / window) + actual - taken)
    if owed > 0 then
      redis.call('HSET', key, 'd', string.format('%.9f', owed), 't', string.format('%.0f', now))
      redis.call('PEXPIRE', key, math.ceil(owed * window / max / 1000) + 1000)
    else
      redis.call('DEL', key)
    end
  elseif not place and kind ~= 'c' then
    local kept = put(key, kind, window, max, actual, now)
    redis.call('PEXPIRE', key, math.ceil(kept / 1000) + 1000)
  elseif kind == 's' then
    local slice = math.ceil(window / 60)
    local last = tonumber(redis.call('HGET', key, 'c'))
    if last then
      local back = taken - actual
      -- What is missing counts from the slice that was counted in last; what was too much leaves its own.
      local field = last % 61
      if back > 0 then
        if place + 60 < last then field = nil else field = place % 61 end
      end
      if field then
        local there = tonumber(redis.call('HGET', key, field)) or 0
        back = math.min(back, there)
        redis.call('HSET', key, field, string.format('%.0f', there - back))
        local sum = tonumber(redis.call('HGET', key, 'sum')) or 0
        redis.call('HSET', key, 'sum', string.format('%.0f', math.max(0, sum - back)))
      end
    end
  elseif kind == 'f' then
    local state = redis.call('HMGET', key, 'w', 'u')
    local number, used = tonumber(state[1]), tonumber(state[2]) or 0
    if number and (actual > taken or number == place) then
      redis.call('HSET', key, 'u', string.format('%.0f', math.max(0, used + actual - taken)))
    end
  else
    local held = redis.call('HGET', key, instance)
    local count, ends = string.match(held or '', '^(%d+):(%d+)$')
    if count then
      if tonumber(count) <= 1 then
        redis.call('HDEL', key, instance)
      else
        redis.call('HSET', key, instance, string.format('%.0f:%s', tonumber(count) - 1, ends))
      end
    end
  end
end
return 1
