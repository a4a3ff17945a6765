-- Says that nobody may take an account for whole any more: it is built anew when it is next asked for.
--
-- KEYS: the account. ARGV: an instance that has ended, whose part is taken out, or ''. Answers whether there was an account.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] ~= '' then redis.call('HDEL', KEYS[1], 's:' .. ARGV[1]) end
redis.call('HSET', KEYS[1], 'state', 'lost')
return 1
