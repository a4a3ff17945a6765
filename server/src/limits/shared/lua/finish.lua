-- Ends the building of an account.
--
-- KEYS: the account. ARGV: the build, what the books say, for how many milliseconds it is kept, then for each instance that took
-- part its id and the most that it holds, or -1 for one that took none and was heard of not long ago. What instances held that
-- took no part goes on counting, as they may be alive; of those that were heard of not long ago what they had spent too, as
-- nobody knows whether it is booked. Answers 0 where another has begun to build it meanwhile.

-- `now` and `run` are of run.lua.
local key = KEYS[1]
local there = redis.call('HMGET', key, 'run', 'state', 'build')
if there[1] ~= run or there[2] ~= 'building' or there[3] ~= ARGV[1] then return 0 end
local lately = {}
for at = 4, #ARGV, 2 do lately[ARGV[at]] = ARGV[at + 1] == '-1' end
for _, field in ipairs(redis.call('HKEYS', key)) do
  local kind, id = string.sub(field, 1, 2), string.sub(field, 3)
  if kind == 'p:' then redis.call('HDEL', key, field) end
  if kind == 's:' then
    local spent, held = string.match(redis.call('HGET', key, field), ':(%d+):(%d+)$')
    held = tonumber(held) or 0
    if lately[id] then held = held + (tonumber(spent) or 0) end
    if held > 0 then
      redis.call('HSET', key, field, '0:0:' .. string.format('%.0f', held))
    else
      redis.call('HDEL', key, field)
    end
  end
end
for at = 4, #ARGV, 2 do
  if ARGV[at + 1] ~= '-1' then
    redis.call('HSET', key, 's:' .. ARGV[at], '0:0:' .. ARGV[at + 1], 'p:' .. ARGV[at], '1')
  end
end
redis.call('HSET', key, 'state', 'open', 'base', ARGV[2], 'at', string.format('%.0f', now))
redis.call('HDEL', key, 'until', 'follows', 'followed')
redis.call('PEXPIRE', key, ARGV[3])
return 1
