-- Says what limits of one hash tag have left. Counts nothing and writes nothing.
--
-- KEYS: one for each limit. ARGV: for each five values: kind (as take.lua has them), window in microseconds, max, burst, and the
-- longest wait in microseconds. Answers two for each: what is left, and for how many microseconds something is still used.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local answer = {}

local function tell(remaining, reset)
  answer[#answer + 1] = math.max(0, math.floor(remaining + 0.000001))
  answer[#answer + 1] = math.max(0, math.ceil(reset))
end

local function debt(key, window, max)
  local state = redis.call('HMGET', key, 'd', 't')
  local passed = math.max(0, now - (tonumber(state[2]) or now))
  return math.max(0, (tonumber(state[1]) or 0) - passed * max / window)
end

-- What stands in the slices that are still within the window.
local function sliding(key, window)
  local slice = math.ceil(window / 60)
  local state = redis.call('HMGET', key, 'c', 'sum')
  local last = tonumber(state[1])
  local present = math.floor(now / slice)
  if not last or present - last > 60 then return 0 end
  local sum, places = tonumber(state[2]) or 0, {}
  for gone = last + 1, present do places[#places + 1] = gone % 61 end
  if #places > 0 then
    for _, count in ipairs(redis.call('HMGET', key, unpack(places))) do sum = sum - (tonumber(count) or 0) end
  end
  return sum
end

local function held(key)
  local count = 0
  local slots = redis.call('HGETALL', key)
  for field = 2, #slots, 2 do
    local one, ends = string.match(slots[field], '^(%d+):(%d+)$')
    if one and tonumber(ends) * 1000 >= now then count = count + tonumber(one) end
  end
  return count
end

for at, key in ipairs(KEYS) do
  local base = (at - 1) * 5
  local kind, window, max = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local burst, patience = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5])
  if kind == 'b' then
    local owed = debt(key, window, max)
    tell(burst - owed, owed * window / max)
  elseif kind == 'l' then
    -- Who comes now waits for what is owed, and one more has a place besides those that fit into the wait.
    local wait = debt(key, window, max) * window / max
    tell(wait <= patience and math.floor((patience - wait) * max / window) + 1 or 0, wait)
  elseif kind == 's' then
    local used = sliding(key, window)
    tell(max - used, used > 0 and window or 0)
  elseif kind == 'f' then
    local state = redis.call('HMGET', key, 'w', 'u')
    local number = math.floor(now / window)
    local used = (tonumber(state[1]) or -1) >= number and tonumber(state[2]) or 0
    tell(max - used, used > 0 and (number + 1) * window - now or 0)
  else
    tell(max - held(key), 0)
  end
end

return answer
