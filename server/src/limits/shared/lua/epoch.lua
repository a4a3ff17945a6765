-- For how many milliseconds this Redis has been counting without a loss that shows; begins to, where it does not.
--
-- KEYS: where that is noted. Answers that, and the present millisecond.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+):(%d+)$')
if known ~= run then
  since = now
  redis.call('SET', KEYS[1], run .. ':' .. string.format('%.0f', now))
end
return {now - tonumber(since), now}
