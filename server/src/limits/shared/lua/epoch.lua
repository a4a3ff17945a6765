-- For how many milliseconds this Redis has been counting without a loss that shows; begins to, where it does not.
--
-- KEYS: where that is noted. Answers that, and the present millisecond.

-- `now` and `run` are of run.lua.
local known, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+):(%d+)$')
if known ~= run then
  since = now
  redis.call('SET', KEYS[1], run .. ':' .. string.format('%.0f', now))
end
return {now - tonumber(since), now}
