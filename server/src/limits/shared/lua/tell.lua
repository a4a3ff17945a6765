-- Tells what an instance has spent and holds of budgets' accounts of one hash tag, and gives it more where there is some.
--
-- KEYS: for each account its own, and that of the window before (or its own again where there is none). ARGV: this instance's
-- id, an id for accounts that begin here, when this instance began (milliseconds by this clock, -1: unknown), for how many
-- milliseconds accounts are kept; then for each account eleven values: the build that the figures belong to ('': none), the
-- number of this tell, the last number that was answered, what it has spent since the build, what it holds, of that what is
-- free, what the first in its queue needs besides, what the whole queue needs besides, the budget (-1: none that is hard),
-- whether nobody spends (1) or the instance ends and tells for the last time (2), and when the window begins. Answers for
-- each account: a code (0 counted, 1 unknown, 2 being built, 3 built without it, 4 not counted), what all have spent, what
-- the others hold, what is given, how much may lie idle, and the build.
--
-- An account is a hash: `run`, the run of Redis in which it was built (so one restored from a dump, or of a replica, is not
-- taken for true), `state` (open, building, lost), `build`, `base`, what was spent before the build, `at`, when that was,
-- `follows`, whether it began with its window, and for each instance `s:ID`, "number:spent:held", and `p:ID` where it
-- took part in the build or came after it.

-- `now` and `run` are of run.lua.
local instance, fresh, born, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local mine = 's:' .. instance
local answers = {}

local function whole(number) return string.format('%.0f', number) end

local function figures(text)
  local number, spent, held = string.match(text, '^(%d+):(%d+):(%d+)$')
  return tonumber(number) or 0, tonumber(spent) or 0, tonumber(held) or 0
end

for at = 1, #KEYS / 2 do
  local key, before = KEYS[at * 2 - 1], KEYS[at * 2]
  local base = 4 + (at - 1) * 11
  local build, number, answered = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local spent, held, kept = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5]), tonumber(ARGV[base + 6])
  local first, wanted = tonumber(ARGV[base + 7]), tonumber(ARGV[base + 8])
  local amount, use, begins = tonumber(ARGV[base + 9]), ARGV[base + 10], tonumber(ARGV[base + 11])
  local fields = redis.call('HGETALL', key)
  local account = {}
  for field = 1, #fields, 2 do account[fields[field]] = fields[field + 1] end
  local code, all, others, granted, slice = 0, 0, 0, 0, 0

  if account.run ~= run then
    local prior = before ~= key and redis.call('HMGET', before, 'run', 'state', 'at', 'followed') or {}
    -- It was counted whole when this window began, by clocks that may differ a little; and nothing has followed it yet.
    local was_whole = (tonumber(prior[3]) or now) + 60000 < begins and not prior[4]
    if build == '' and prior[1] == run and prior[2] == 'open' and was_whole then
      -- A window that follows one that everybody counts begins with nothing.
      account = {run = run, state = 'open', build = fresh, base = '0', follows = '1'}
      redis.call('HSET', before, 'followed', '1')
      redis.call('DEL', key)
      redis.call('HSET', key, 'run', run, 'state', 'open', 'build', fresh, 'base', '0', 'follows', '1', 'at', whole(now))
    else
      code = 1
    end
  elseif account.state == 'building' then
    code = (tonumber(account['until']) or 0) > now and 2 or 1
  elseif account.state ~= 'open' then
    code = 1
  end

  local own = account[mine]
  if code == 0 then
    if build == '' then
      -- Who has counted something while others built it cannot tell what of that they have counted too.
      local was_there = born < 0 or born <= (tonumber(account.at) or 0)
      if not own and spent + held > 0 and not account.follows and was_there then code = 3 end
      -- What it had told once and does not know any more stands for something.
      if own then
        local last, told = figures(own)
        if told > spent or number <= last then code = 3 end
      end
    elseif build ~= account.build or not account['p:' .. instance] then
      code = 3
    end
  end
  if code == 0 then
    local last = own and figures(own) or 0
    if number <= last then
      code = 4
    elseif answered > last then
      -- It went back: somebody restored the key.
      redis.call('HSET', key, 'state', 'lost')
      code = 1
    end
  end

  if code == 0 then
    all = tonumber(account.base) or 0
    for field, value in pairs(account) do
      if string.sub(field, 1, 2) == 's:' and field ~= mine then
        local _, theirs, holds = figures(value)
        all, others = all + theirs, others + holds
      end
    end
    all = all + spent
    if amount >= 0 then
      -- Numbers here are exact to 2^53; beyond that a little stays.
      local left = amount - all - others - held - (amount > 9007199254740992 and 65536 or 0)
      if first > 0 and left >= first then
        granted = math.min(left, wanted)
        left = left - granted
      end
      if use == '0' then
        slice = math.floor(math.max(0, left + kept) / 100)
        if first == 0 or granted > 0 then
          local more = math.min(math.max(0, slice - kept), math.max(0, left))
          granted = granted + more
        end
      end
    end
    if use == '2' and held + granted == 0 then
      redis.call('HSET', key, 'base', whole((tonumber(account.base) or 0) + spent))
      -- It takes no part any more: the same said again counts nothing.
      redis.call('HDEL', key, mine, 'p:' .. instance)
    else
      redis.call('HSET', key, mine, whole(number) .. ':' .. whole(spent) .. ':' .. whole(held + granted))
      redis.call('HSET', key, 'p:' .. instance, '1')
    end
    redis.call('PEXPIRE', key, ttl)
  end
  answers[at] = {code, all, others, granted, slice, account.build or ''}
end
return answers
