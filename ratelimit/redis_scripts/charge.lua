-- Charge many ledgers, each whole or not at all.
--
-- KEYS[i]    counter of the i-th charge, all ledgers in a row; a key may come twice
-- ARGV[1]    channel that refunded keys are told on; empty: none is told
-- ARGV[2..]  ledgers: the number of charges, negative where the policy is STOP, and for each charge
--              hits, ttl (s; 0 marks a refund), and under STOP also the limit
--
-- Returns a flat list. A ledger gives for each charge what the counter held before, under STOP also
-- what it holds after; or, once, the text of the error that kept it from being applied. A server that
-- takes no writes is an error of the whole call, since then nothing at all was written.
--
-- A script and not MULTI: whether to write depends on what was read, a key may expire in the middle
-- of a MULTI but never in the middle of a script, and what a ledger wrote before one of its counters
-- failed must be taken back before anybody sees it.
--
-- Counts are doubles here, so they stop at 2^53 - 1: a counter at its end denies, it never fails.

local MAX, MAX_TEXT = 9007199254740991, '9007199254740991'
local call, try, find = redis.call, redis.pcall, string.find

local reply, filled = {}, 0
local next_key, next_arg = 1, 2
local born = {} -- by position of the key, for the ledger at hand

-- Bring a counter that ran over its end back to it.
local function saturate(name)
  try('SET', name, MAX_TEXT, 'KEEPTTL')
end

-- Add hits (text); return what was there before, or nil and the error.
local function add(position, hits, ttl)
  local name = KEYS[position]
  local after = try('INCRBY', name, hits)
  if type(after) == 'table' then
    if not find(after.err, 'overflow', 1, true) then return nil, after.err end
    saturate(name)
    return MAX
  end
  if after > MAX then
    local before = call('DECRBY', name, hits)
    saturate(name)
    return math.min(before, MAX)
  end
  local number = hits + 0
  -- Only a counter that held nothing can be new; asking costs less than EXPIRE with NX, which old servers lack.
  if after == number and call('TTL', name) == -1 then
    call('EXPIRE', name, ttl)
    born[position] = true
  end
  return after - number
end

-- Read a counter; return it (false if there is none), or nil and the error.
local function look(name)
  local text = try('GET', name)
  if not text then return false end
  if type(text) == 'table' then return nil, text.err end
  if not find(text, '^-?%d+$') then return nil, 'ERR value is not an integer or out of range' end
  return text + 0
end

local function refundable(count, hits)
  return math.max(0, math.min(count, hits + 0))
end

-- Take hits off, not below 0; return what was there before, or nil and the error.
local function refund(name, hits)
  local before, problem = look(name)
  if problem then return nil, problem end
  if not before then return 0 end
  local taken = refundable(before, hits)
  if taken > 0 then
    local after = try('DECRBY', name, taken)
    if type(after) == 'table' then return nil, after.err end
  end
  return math.min(before, MAX)
end

-- Take back what the first charges of a ledger wrote. `width` numbers per charge are in ARGV, `held` says
-- which of them were written with no hits.
local function undo(charges, width, befores, held)
  for i = charges, 1, -1 do
    local position, arg = next_key + i - 1, next_arg + width * (i - 1)
    local name, before, hits = KEYS[position], befores[i], ARGV[arg] + 0
    if born[position] then
      call('DEL', name)
    elseif ARGV[arg + 1] == '0' then
      call('INCRBY', name, refundable(before, hits))
    elseif not held[i] then
      call('DECRBY', name, math.min(before + hits, MAX) - before)
    end
  end
end

-- Look at every counter; return which charges are held back since another would go over, or nil and the error.
local function held_back(charges)
  local refunded, over, any = {}, {}, false
  for i = 1, charges do
    local arg, name = next_arg + 3 * (i - 1), KEYS[next_key + i - 1]
    local count, problem = look(name)
    if problem then return nil, problem end
    count = refunded[name] or count or 0
    if ARGV[arg + 1] == '0' then
      refunded[name] = count - refundable(count, ARGV[arg])
      over[i] = true
    elseif count + ARGV[arg] > ARGV[arg + 2] + 0 then
      over[i], any = true, true
    end
  end
  local held = {}
  if any then
    for i = 1, charges do held[i] = not over[i] end
  end
  return held
end

local NOTHING = {}

-- Apply one ledger; return the error that kept it from being applied.
local function apply(charges, is_stop)
  local width, held, befores, refunds, problem = 2, NOTHING, {}, nil, nil
  if is_stop then
    width = 3
    held, problem = held_back(charges)
    if problem then return problem end
  end
  for i = 1, charges do
    local position, arg = next_key + i - 1, next_arg + width * (i - 1)
    local before
    if ARGV[arg + 1] == '0' then
      before, problem = refund(KEYS[position], ARGV[arg])
      refunds = true
    else
      before, problem = add(position, held[i] and '0' or ARGV[arg], ARGV[arg + 1])
    end
    if problem then
      undo(i - 1, width, befores, held)
      return problem
    end
    befores[i] = before
  end
  for i = 1, charges do
    local before = befores[i]
    filled = filled + 1
    reply[filled] = before
    if is_stop then
      local arg = next_arg + width * (i - 1)
      filled = filled + 1
      if ARGV[arg + 1] == '0' then
        reply[filled] = before - refundable(before, ARGV[arg])
      else
        reply[filled] = held[i] and before or math.min(before + ARGV[arg], MAX)
      end
    end
    if refunds and ARGV[1] ~= '' and ARGV[next_arg + width * (i - 1) + 1] == '0' then
      try('PUBLISH', ARGV[1], KEYS[next_key + i - 1])
    end
  end
end

while ARGV[next_arg] do
  local charges = ARGV[next_arg] + 0
  local is_stop = charges < 0
  if is_stop then charges = -charges end
  next_arg = next_arg + 1
  local problem = apply(charges, is_stop)
  if problem then
    if find(problem, '^READONLY') then return redis.error_reply(problem) end
    filled = filled + 1
    reply[filled] = problem
  end
  next_key = next_key + charges
  next_arg = next_arg + charges * (is_stop and 3 or 2)
end
return reply
