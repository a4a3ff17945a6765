-- Ends the building of an account.
--
-- KEYS: the account. ARGV: the build, what the books say, for how many milliseconds it is kept, then for each instance that took
-- part its id and the most that it holds. What instances held that took no part goes on counting: they may be alive. Answers 0
-- where another has begun to build it meanwhile.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local key = KEYS[1]
local there = redis.call('HMGET', key, 'run', 'state', 'build')
if there[1] ~= run or there[2] ~= 'building' or there[3] ~= ARGV[1] then return 0 end
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 's:' then
    local held = string.match(redis.call('HGET', key, field), ':(%d+)$')
    if held and held ~= '0' then
      redis.call('HSET', key, field, '0:0:' .. held)
    else
      redis.call('HDEL', key, field)
    end
  end
end
for at = 4, #ARGV, 2 do
  redis.call('HSET', key, 's:' .. ARGV[at], '0:0:' .. ARGV[at + 1])
end
redis.call('HSET', key, 'state', 'open', 'base', ARGV[2], 'at', string.format('%.0f', now))
redis.call('HDEL', key, 'until', 'follows')
redis.call('PEXPIRE', key, ARGV[3])
return 1
