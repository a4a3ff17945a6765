-- Says that this instance still holds its concurrency slots: in full where nothing of them is under way, else only for how
-- long. KEYS: one limit's slots. ARGV: this instance's id, milliseconds until it counts as gone, how many it holds, or -1.

local time = redis.call('TIME')
local ends = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[2])
local count = tonumber(ARGV[3])
if count < 0 then
  local held = redis.call('HGET', KEYS[1], ARGV[1])
  count = tonumber(string.match(held or '', '^(%d+):')) or 0
end
if count == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%.0f', count, ends))
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]) + 1000)
end
return 1
