-- Puts back what an instance has used of limits of one hash tag, after Redis has lost it or was restored with what was true once.
--
-- KEYS: the counts. ARGV: this instance's id, since when this Redis counts, whether that is a moment ago (1), then for each count
-- four values: kind, window in microseconds, max, and what this instance has used. The first instance to come clears what it
-- finds, unless it comes so late that others have counted there since; each puts back its own, and once: `e` says since when,
-- `e:ID` who has been here. Answers how many counts were put back.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local mine, since = 'e:' .. ARGV[1], ARGV[2]
local put = 0

local function whole(number) return string.format('%.0f', number) end

for at, key in ipairs(KEYS) do
  local base = 3 + (at - 1) * 4
  local kind, window, max = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local used = tonumber(ARGV[base + 4])
  local there = redis.call('HMGET', key, 'e', mine)
  if there[1] ~= since and ARGV[3] == '1' then redis.call('DEL', key) end
  if there[1] ~= since or not there[2] then
    put = put + 1
    local kept = 0
    if kind == 'b' or kind == 'l' then
      local state = redis.call('HMGET', key, 'd', 't')
      local passed = math.max(0, now - (tonumber(state[2]) or now))
      local owed = math.max(0, (tonumber(state[1]) or 0) - passed * max / window) + used
      redis.call('HSET', key, 'd', string.format('%.9f', owed), 't', whole(now))
      kept = owed * window / max
    elseif kind == 's' then
      local slice = math.ceil(window / 60)
      -- Nobody knows any more when it was: from now on is never too little.
      local present = math.floor(now / slice)
      local last = tonumber(redis.call('HGET', key, 'c'))
      if last and present - last > 60 then redis.call('DEL', key) end
      if last and last > present then present = last end
      -- What has left the window meanwhile is taken out by the next call; a slice of that age may not be added to.
      if last and present > last then
        for gone = math.max(last + 1, present - 60), present do
          local count = tonumber(redis.call('HGET', key, gone % 61))
          if count then
            redis.call('HDEL', key, gone % 61)
            redis.call('HINCRBY', key, 'sum', -count)
          end
        end
      end
      redis.call('HSET', key, 'c', whole(present))
      redis.call('HINCRBY', key, present % 61, whole(used))
      redis.call('HINCRBY', key, 'sum', whole(used))
      kept = window + slice
    elseif kind == 'f' then
      local state = redis.call('HMGET', key, 'w', 'u')
      local number = math.floor(now / window)
      local counted = tonumber(state[1]) == number and tonumber(state[2]) or 0
      redis.call('HSET', key, 'w', whole(number), 'u', whole(counted + used))
      kept = window
    end
    redis.call('HSET', key, 'e', since, mine, '1')
    redis.call('PEXPIRE', key, math.ceil(kept / 1000) + 1000)
  end
end
return put
