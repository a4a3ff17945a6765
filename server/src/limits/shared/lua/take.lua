-- Counts one call on all limits of one hash tag, or on none. Atomic: every limit is asked before any is written.
--
-- KEYS: one for each limit. ARGV: this instance's id, for how many microseconds a slice may be spent, then for each limit
-- eight values: kind (b bucket, l leaky, s sliding, f fixed, c concurrent), window in microseconds, max, burst, longest wait
-- in microseconds, cost, for how many milliseconds a concurrency slot is held without word of its instance, and how much the
-- instance would like besides, to spend it without asking: its slice, of which it gets at most 1 % of what is left.
-- Answers {1, remaining, reset, place, wait, slice, remaining, ...} with five values for each limit, or {0, which, after}:
-- which limit (from 1) stands against it for longest, and for how many microseconds. All times are Redis's own.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local instance, life = ARGV[1], tonumber(ARGV[2])
local writes, answer = {}, {1}
local worst, after = 0, -1

local function refuse(at, us)
  us = math.ceil(us)
  if us > after then worst, after = at, us end
end

local function keep(key, us)
  redis.call('PEXPIRE', key, math.ceil(us / 1000) + 1000)
end

local function tell(remaining, reset, place, wait, slice)
  answer[#answer + 1] = math.max(0, math.floor(remaining))
  answer[#answer + 1] = math.max(0, math.ceil(reset))
  answer[#answer + 1] = place
  answer[#answer + 1] = math.max(0, math.ceil(wait))
  answer[#answer + 1] = slice
end

local function slice_of(wanted, left)
  return math.max(0, math.min(wanted, math.floor(left / 100)))
end

-- What was taken of a bucket and has not flowed back, in units. While there are slices of it (until s) it is never fuller than
-- m below its burst: what flows back in a slice's life, so that one spent late is none too many.
local function debt(key, window, max)
  local state = redis.call('HMGET', key, 'd', 't', 's', 'm')
  local owed = tonumber(state[1]) or 0
  local passed = math.max(0, now - (tonumber(state[2]) or now))
  local least = now < (tonumber(state[3]) or 0) and tonumber(state[4]) or 0
  return math.max(least, owed - passed * max / window)
end

local function owe(key, owed, window, max, least)
  redis.call('HSET', key, 'd', string.format('%.9f', owed), 't', string.format('%.0f', now))
  if least then
    redis.call('HSET', key, 's', string.format('%.0f', now + life), 'm', string.format('%.9f', least))
  end
  keep(key, math.max(owed * window / max, least and life or 0))
end

for at, key in ipairs(KEYS) do
  local base = 2 + (at - 1) * 8
  local kind, window, max = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local burst, patience, cost = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5]), tonumber(ARGV[base + 6])
  local wanted = tonumber(ARGV[base + 8])
  if kind == 'b' then
    local before = debt(key, window, max)
    local owed, least = before + cost, nil
    -- Nine places are kept: a rounding may not refuse what fits.
    if owed > burst + 0.000001 then
      refuse(at, (owed - burst) * window / max)
    else
      local flows = max * life / window
      local slice = slice_of(wanted, burst - math.max(before, flows) - cost)
      if slice > 0 then owed, least = math.max(before, flows) + cost + slice, flows end
      writes[#writes + 1] = function() owe(key, owed, window, max, least) end
      tell(burst - owed + 0.000001, owed * window / max, 0, 0, slice)
    end
  elseif kind == 'l' then
    local owed = debt(key, window, max)
    local wait = owed * window / max
    if wait > patience then
      refuse(at, wait - patience)
    else
      writes[#writes + 1] = function() owe(key, owed + cost, window, max) end
      tell((patience - wait) * max / window, (owed + cost) * window / max, 0, wait, 0)
    end
  elseif kind == 's' then
    local slice = math.ceil(window / 60)
    local present = math.floor(now / slice)
    local state = redis.call('HMGET', key, 'c', 'sum')
    local last, sum = tonumber(state[1]) or present, tonumber(state[2]) or 0
    present = math.max(present, last)
    local old = {}
    if present - last > 60 then
      sum = 0
      for place = 0, 60 do old[#old + 1] = place end
    else
      for gone = last + 1, present do
        local place = gone % 61
        local count = tonumber(redis.call('HGET', key, place))
        if count then
          sum = sum - count
          old[#old + 1] = place
        end
      end
    end
    if sum + cost > max then
      -- How long until enough slices have left the window.
      local freed, us = 0, 0
      for at_slice = present - 60, present do
        if present - last <= 60 and at_slice <= last then
          freed = freed + (tonumber(redis.call('HGET', key, at_slice % 61)) or 0)
        end
        if freed >= sum + cost - max then
          us = (at_slice + 61) * slice - now
          break
        end
      end
      refuse(at, us)
    else
      writes[#writes + 1] = function()
        if #old > 0 then redis.call('HDEL', key, unpack(old)) end
        redis.call('HINCRBY', key, present % 61, cost)
        redis.call('HSET', key, 'c', string.format('%.0f', present), 'sum', string.format('%.0f', sum + cost))
        keep(key, window + slice)
      end
      tell(max - sum - cost, window, present, 0, 0)
    end
  elseif kind == 'f' then
    local state = redis.call('HMGET', key, 'w', 'u')
    local number, used = math.floor(now / window), 0
    -- A clock that went back opens no window again.
    if (tonumber(state[1]) or -1) >= number then
      number, used = tonumber(state[1]), tonumber(state[2])
    end
    if used + cost > max then
      refuse(at, (number + 1) * window - now)
    else
      local slice = slice_of(wanted, max - used - cost)
      used = used + cost + slice
      writes[#writes + 1] = function()
        redis.call('HSET', key, 'w', string.format('%.0f', number), 'u', string.format('%.0f', used))
        keep(key, window)
      end
      tell(max - used, (number + 1) * window - now, number, 0, slice)
    end
  else
    local held, own, hold = 0, 0, tonumber(ARGV[base + 7])
    local slots = redis.call('HGETALL', key)
    for field = 1, #slots, 2 do
      local count, ends = string.match(slots[field + 1], '^(%d+):(%d+)$')
      if slots[field] == instance then
        own = tonumber(count)
        held = held + own
      elseif tonumber(ends) * 1000 >= now then
        held = held + tonumber(count)
      end
    end
    if held + 1 > max then
      -- When a slot is free again, nobody knows.
      refuse(at, 1000000)
    else
      writes[#writes + 1] = function()
        local ends = math.floor(now / 1000) + hold
        redis.call('HSET', key, instance, string.format('%.0f:%.0f', own + 1, ends))
        keep(key, hold * 1000)
      end
      tell(max - held - 1, 0, 0, 0, 0)
    end
  end
end

if worst > 0 then return {0, worst, after} end
for _, write in ipairs(writes) do write() end
return answer
