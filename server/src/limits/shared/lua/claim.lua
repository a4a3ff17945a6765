-- Begins to build an account: nothing is given of it until that is done.
--
-- KEYS: the account. ARGV: the build, for how many milliseconds it may take, and the build that left somebody out ('': none).
-- Answers 1 where it is to be built, 0 where it is built already or another builds it.

-- `now` and `run` are of run.lua.
local there = redis.call('HMGET', KEYS[1], 'run', 'state', 'until', 'build')
if there[1] == run then
  if there[2] == 'open' and (ARGV[3] == '' or ARGV[3] ~= there[4]) then return 0 end
  if there[2] == 'building' and (tonumber(there[3]) or 0) > now then return 0 end
else
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'run', run, 'state', 'building', 'build', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 3600000)
return 1
