-- Adds to a count what was used of it elsewhere, as of now: for how many microseconds it has to be kept.

local function whole(number) return string.format('%.0f', number) end

local function put(key, kind, window, max, used, now)
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
  return kept
end
