-- Admit many ledgers, each by its own rules; `ratelimit/draw.py` has the rules and the words.
--
-- KEYS[i]    stem of the i-th draw, all ledgers in a row; a stem may come twice. What belongs to a stem is beside it
--            in its slot, since stems carry a hash tag:
--              <stem>:<start>  spent in a fixed window       <stem>:h  hash: holds by name, totals by window,
--                                                                     `e` when to sweep, `x` until when all of it lives
--              <stem>:s        ring of a sliding window      <stem>:d  sorted set: names by when they are due
--              <stem>:b        "level at" of a bucket        <stem>:a  sorted set: holds without an id, by age
--                                                            <stem>:r  sorted set: charged ids by when forgotten
--            A draw under the reference's counting has its counter's whole key instead; what is beside it is named
--            `{key}:h` and so on, or `key:h` where the key has a hash tag by chance, which is in its slot too.
-- ARGV[1]    now (ms); 0 means "ask this server"
-- ARGV[2]    channel that refunded keys of the reference are told on; empty: none is told
-- ARGV[3]    most holds of one counter
-- ARGV[4..]  ledgers: the number of draws, negative where all or nothing, and for each draw
--              terms "algorithm limit window capacity exhausted hold hold_max remember", life * 64 + op * 4 + role, hits, id, start, end (s);
--              life (ms) is that of the hold, 0: the terms' own
--
-- Returns a flat list. A ledger gives for each draw: spent before, spent after, held, 1 if over + 2 if it ended a hold,
-- ms to its reset; or, once, the text of the error that kept it from being applied. A server that takes no writes is an error of the whole
-- call, since then nothing at all was written.
--
-- One file, since a script has nothing to import from.
--
-- A script and not MULTI: what is written depends on what was read, of several counters at once.

local call, try, find, floor, ceil = redis.call, redis.pcall, string.find, math.floor, math.ceil
local MAX, SLICES, SWEEP, LIVES = 9007199254740991, 32, 1000, 10
local CHARGE, FORCE, REFUND, RESERVE, SETTLE, RELEASE, AUTO, LEASE = 0, 1, 2, 3, 4, 5, 6, 7
local BLOCK, QUOTA = 0, 1

local now, channel, holds_max = ARGV[1] + 0, ARGV[2], ARGV[3] + 0
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end

-- A number as Redis takes it: in full, and 0 without a sign.
local function whole(number)
  return number == 0 and '0' or string.format('%.0f', number)
end

local terms_of = {}

local function terms(text)
  local known = terms_of[text]
  if known then return known end
  local algorithm, limit, window, capacity, exhausted, hold, hold_max, remember =
    string.match(text, '^(%a) (%d+) (%d+) (%d+) (%d) (%d+) (%d+) (%d+)$')
  known = {
    algorithm = algorithm, limit = limit + 0, window = window + 0, capacity = capacity + 0,
    exhausted = exhausted == '1', hold = hold + 0, hold_max = hold_max + 0, remember = remember + 0, memory = hold * LIVES,
  }
  terms_of[text] = known
  return known
end

-- Reading: each takes a counter and returns what is spent, or nil and an error. ---------------------------------------

local function integer(text)
  if not text then return 0 end
  if type(text) == 'table' then return nil, text.err end
  if not find(text, '^-?%d+$') then return nil, 'ERR value is not an integer or out of range' end
  return math.min(text + 0, MAX)
end

-- Let slices leave that are older than the window; nothing that counts is changed.
local function read_ring(counter)
  local name, window = counter.stem .. ':s', counter.terms.window
  local slice = floor(now * SLICES / window)
  local fields = try('HMGET', name, 'i', 't', 'l', slice % (SLICES + 1))
  if fields.err then return nil, fields.err end
  local index, total = (fields[1] or 0) + 0, (fields[2] or 0) + 0
  -- What this slice holds, so that one write can say it all; unknown where a clock was set back.
  counter.count = slice == index and (fields[4] or 0) + 0 or slice > index and 0 or nil
  slice = math.max(index, slice)
  if fields[1] and slice > index then
    if slice - index > SLICES then
      call('DEL', name)
      total = 0
    else
      local gone = {}
      for i = index + 1, slice do gone[#gone + 1] = i % (SLICES + 1) end
      for _, count in ipairs(call('HMGET', name, unpack(gone))) do total = total - (count or 0) end
      call('HDEL', name, unpack(gone))
      call('HSET', name, 'i', slice, 't', total)
    end
  end
  counter.slice, counter.last, counter.is_moved = slice, (fields[3] or -1) + 0, slice ~= (fields[3] or -1) + 0
  return total
end

local function read_level(counter)
  local text = try('GET', counter.stem .. ':b')
  if not text then return 0 end
  if type(text) == 'table' then return nil, text.err end
  local level, at = string.match(text, '^(%S+) (%d+)$')
  if not level then return nil, 'ERR value is not a bucket' end
  local passed = math.max(0, now - at)
  return math.max(0, level - passed * counter.terms.limit / counter.terms.window)
end

local function read(counter, start)
  local algorithm = counter.terms.algorithm
  if algorithm == 's' then return read_ring(counter) end
  if algorithm == 'b' then return read_level(counter) end
  return integer(try('GET', algorithm == 'r' and counter.stem or counter.stem .. ':' .. start))
end

-- Writing: each changes one counter, whose type was seen when it was read. --------------------------------------------

local function expire(name, life)
  call('PEXPIRE', name, math.min(life, 4e14))
end

local function add_string(name, hits, before, life)
  local after = math.min(before + hits, MAX)
  if after > before then call('INCRBY', name, whole(after - before)) end
  if before == 0 and call('PTTL', name) == -1 then expire(name, life) end
end

local function add(counter, start, hits, before, draw)
  local t = counter.terms
  if t.algorithm == 's' then
    local name, field = counter.stem .. ':s', counter.slice % (SLICES + 1)
    hits = math.min(hits, MAX - before)
    if counter.count then
      counter.count = counter.count + hits
      call('HSET', name, field, whole(counter.count), 'i', counter.slice, 't', whole(before + hits), 'l', counter.slice)
    else
      call('HINCRBY', name, field, whole(hits))
      call('HSET', name, 'i', counter.slice, 't', whole(before + hits), 'l', counter.slice)
    end
    counter.last = counter.slice
    if counter.is_moved then expire(name, 2 * t.window) end
  elseif t.algorithm == 'b' then
    local level, life = math.min(before + hits, MAX), 2 * t.window * math.max(1, ceil(t.capacity / math.max(1, t.limit)))
    call('SET', counter.stem .. ':b', string.format('%.17g %.0f', level, now), 'PX', whole(math.min(life, 4e14)))
  elseif t.algorithm == 'r' then
    add_string(counter.stem, hits, before, draw.finish * 1000)
  else
    add_string(counter.stem .. ':' .. start, hits, before, (draw.finish - draw.start) * 1000 + t.hold + t.memory)
  end
end

local function take(counter, start, hits, before, draw)
  local t = counter.terms
  hits = math.min(hits, math.max(0, before))
  if hits == 0 then return end
  if t.algorithm == 's' then
    local name, left = counter.stem .. ':s', hits
    counter.count = nil
    for i = counter.slice - SLICES, counter.slice do
      local field = i % (SLICES + 1)
      local taken = math.min(left, (call('HGET', name, field) or 0) + 0)
      if taken > 0 then call('HINCRBY', name, field, whole(-taken)) end
      left = left - taken
      if left == 0 then break end
    end
    call('HSET', name, 't', whole(before - hits))
  elseif t.algorithm == 'b' then
    add(counter, start, -hits, before, draw)
  elseif t.algorithm == 'r' then
    call('DECRBY', counter.stem, whole(hits))
  else
    call('DECRBY', counter.stem .. ':' .. start, whole(hits))
  end
end

-- Return when `excess` hits have left; where that many never will, or none must, when all have.
local function reset(counter, excess, spent, draw)
  local t = counter.terms
  if t.algorithm == 'r' then return 0 end
  if t.algorithm == 'b' then
    if t.limit == 0 then return MAX end
    local leaving = (excess > 0 and excess <= spent) and excess or spent
    return math.min(MAX, ceil(leaving * t.window / t.limit))
  end
  if t.algorithm == 's' then
    if spent == 0 then return 0 end
    local last = counter.last
    if excess > 0 then
      local fields, left = {}, 0
      for i = counter.slice - SLICES, counter.slice do fields[#fields + 1] = i % (SLICES + 1) end
      for position, count in ipairs(call('HMGET', counter.stem .. ':s', unpack(fields))) do
        left = left + (count or 0)
        if left >= excess then
          last = counter.slice - SLICES + position - 1
          break
        end
      end
    end
    return math.max(0, ceil((last + SLICES + 1) * t.window / SLICES) - now)
  end
  return math.max(0, draw.finish * 1000 - now)
end

-- Holds. --------------------------------------------------------------------------------------------------------------

local function hold_of(counter, name)
  local text = call('HGET', counter.beside .. ':h', name)
  if not text then return nil end
  local amount, start, due = string.match(text, '^(%d+):(%d+):(%d+)$')
  if not amount then return nil end
  return { name = name, amount = amount + 0, start = start, due = due + 0 }
end

local function end_hold(counter, hold, forget_at)
  local holds = counter.beside .. ':h'
  local total = 't' .. hold.start
  if call('HINCRBY', holds, total, whole(-hold.amount)) <= 0 then call('HDEL', holds, total) end
  if string.sub(hold.name, 1, 1) == 'a' or forget_at <= now then
    call('HDEL', holds, hold.name)
    call('ZREM', counter.beside .. ':d', hold.name)
    call('ZREM', counter.beside .. ':a', hold.name)
  else
    local text = whole(forget_at)
    call('HSET', holds, hold.name, text)
    call('ZADD', counter.beside .. ':d', text, hold.name)
  end
end

-- End the holds that are due and forget the ids whose time is over; return when to look again.
local function sweep(counter)
  local holds, dues = counter.beside .. ':h', counter.beside .. ':d'
  for _, name in ipairs(call('ZRANGEBYSCORE', dues, '-inf', now, 'LIMIT', 0, SWEEP)) do
    local hold = hold_of(counter, name)
    if hold then
      end_hold(counter, hold, hold.due + counter.terms.memory)
    else
      call('HDEL', holds, name)
      call('ZREM', dues, name)
    end
  end
  local first = call('ZRANGE', dues, 0, 0, 'WITHSCORES')
  if first[2] then call('HSET', holds, 'e', first[2]) else call('HDEL', holds, 'e') end
  return first[2] and first[2] + 0
end

-- Read what is beside a counter; return an error if it is not what it should be.
local function read_holds(counter, start)
  if counter.terms.hold == 0 then
    counter.known = 0
    return
  end
  local fields = try('HMGET', counter.beside .. ':h', 'e', 'x', 't' .. start)
  if fields.err then return fields.err end
  for _, companion in ipairs({ ':d', ':a' }) do
    local size = try('ZCARD', counter.beside .. companion)
    if type(size) == 'table' then return size.err end
    if companion == ':d' then counter.known = size end
  end
  counter.earliest, counter.ends = fields[1] and fields[1] + 0, (fields[2] or 0) + 0
  if counter.earliest and counter.earliest <= now then
    counter.earliest = sweep(counter)
    counter.known = call('ZCARD', counter.beside .. ':d')
  else
    counter.held[start] = (fields[3] or 0) + 0
  end
end

local function held_in(counter, start)
  local held = counter.held[start]
  if held then return held end
  held = counter.terms.hold > 0 and (call('HGET', counter.beside .. ':h', 't' .. start) or 0) + 0 or 0
  counter.held[start] = held
  return held
end

-- Return the hold of an id, or the oldest without one; those that ended in this ledger are not there.
local function find_hold(counter, id)
  if counter.terms.hold == 0 then return nil end
  if id ~= '' then
    return not counter.ended['i' .. id] and hold_of(counter, 'i' .. id) or nil
  end
  for _, name in ipairs(call('ZRANGE', counter.beside .. ':a', 0, counter.endings)) do
    if not counter.ended[name] then return hold_of(counter, name) end
  end
end

local function add_hold(counter, draw, amount)
  local t, holds, dues = counter.terms, counter.beside .. ':h', counter.beside .. ':d'
  local due, name = whole(now + draw.life), 'i' .. draw.id
  if draw.id == '' then
    local number = call('HINCRBY', holds, 'q', 1)
    name = 'a' .. number
    call('ZADD', counter.beside .. ':a', number, name)
  end
  local text = amount .. ':' .. draw.start_text .. ':' .. due
  if counter.earliest and counter.earliest <= now + draw.life then
    call('HSET', holds, name, text)
  else
    counter.earliest = now + draw.life
    call('HSET', holds, name, text, 'e', due)
  end
  call('HINCRBY', holds, 't' .. draw.start_text, amount)
  call('ZADD', dues, due, name)
  -- Lives are lengthened by twice what is needed, and so only now and then. The queue of holds without an id may be
  -- younger than the rest.
  local life = t.hold + t.memory
  if counter.ends < now + life then
    counter.ends = now + 2 * life
    call('HSET', holds, 'x', whole(counter.ends))
    expire(holds, 2 * life)
    expire(dues, 2 * life)
    expire(counter.beside .. ':a', 2 * life)
  elseif draw.id == '' and call('PTTL', counter.beside .. ':a') == -1 then
    expire(counter.beside .. ':a', 2 * life)
  end
end

-- Deciding. -----------------------------------------------------------------------------------------------------------

local function fingerprint(draw, op)
  if draw.terms.remember == 0 or draw.id == '' or draw.hits == 0 or op == RESERVE or op == RELEASE or op == LEASE then
    return nil
  end
  return (op == REFUND and 'r' or 'c') .. draw.hits_text .. ':' .. draw.id
end

local function is_repeat(counter, charged)
  if counter.charged[charged] then return true end
  if counter.forgotten[charged] then return false end
  local until_ms = call('ZSCORE', counter.beside .. ':r', charged)
  return until_ms and until_ms + 0 > now
end

-- Say what a draw does if it is applied, having regard to what earlier draws of the ledger want.
local function resolve(counter, draw)
  local start, t = draw.start_text, counter.terms
  local total = counter.spent[start] + held_in(counter, start)
  local effect, op = { start = start, excess = 0 }, draw.op
  if op == AUTO then
    op = call('HEXISTS', counter.beside .. ':h', 'i' .. draw.id) == 1 and SETTLE or RESERVE
  end
  local charged = fingerprint(draw, op)
  if charged then
    if is_repeat(counter, charged) then
      effect.over = total > t.capacity
      return effect
    end
    effect.charged, counter.charged[charged] = charged, true
  end
  if op == LEASE then
    effect.spent = math.max(0, math.min(draw.hits, floor(t.capacity - total)))
    effect.over = effect.spent == 0
    counter.spent[start] = counter.spent[start] + effect.spent
    return effect
  end
  if op == CHARGE or op == RESERVE then
    local hits = op == RESERVE and math.min(draw.hits, t.hold_max) or draw.hits
    effect.excess = total + hits - t.capacity
    effect.over = effect.excess > 0
    if op == CHARGE then
      if draw.hits == 0 and t.exhausted and effect.excess >= 0 then effect.over = true end
      effect.spent = draw.hits
      counter.spent[start] = counter.spent[start] + draw.hits
    elseif draw.id ~= '' and (counter.reserved[draw.id] or find_hold(counter, draw.id)) then
      effect.over = false
    else
      if counter.known + counter.reserving >= holds_max then effect.over = true end
      effect.held, counter.held[start] = hits, counter.held[start] + hits
      counter.reserved[draw.id], counter.reserving = true, counter.reserving + 1
    end
    return effect
  end
  effect.sure = true
  local found
  if op ~= FORCE and (draw.id ~= '' or op ~= REFUND) then found = find_hold(counter, draw.id) end
  if found then
    effect.ended, effect.start = found, found.start
    counter.ended[found.name], counter.endings = true, counter.endings + 1
    counter.held[found.start] = held_in(counter, found.start) - found.amount
  end
  if op == FORCE or op == SETTLE then
    effect.spent = draw.hits
    local before = counter.spent[effect.start]
    if before then counter.spent[effect.start] = before + draw.hits end
  elseif op == REFUND and not found then
    effect.taken = draw.hits
    counter.spent[start] = math.max(0, counter.spent[start] - draw.hits)
    if draw.id ~= '' and t.remember > 0 then
      effect.forgotten = 'c' .. draw.hits_text .. ':' .. draw.id
      counter.forgotten[effect.forgotten], counter.charged[effect.forgotten] = true, nil
    end
  end
  return effect
end

local function refuses(draws, effects)
  local quotas, quotas_over = 0, 0
  for i, draw in ipairs(draws) do
    if draw.role == QUOTA then
      quotas = quotas + 1
      if effects[i].over then quotas_over = quotas_over + 1 end
    elseif draw.role == BLOCK and effects[i].over and not effects[i].sure then
      return true
    end
  end
  return quotas > 0 and quotas == quotas_over
end

local reply, filled = {}, 0

local function tell(number)
  filled = filled + 1
  reply[filled] = number
end

local function apply(counter, draw, effect, is_applied)
  local start, t, live = draw.start_text, counter.terms, counter.live
  local before, held = live[start], counter.live_held[start]
  local after = before
  if is_applied then
    if effect.ended then
      end_hold(counter, effect.ended, now + t.memory)
      if effect.ended.start == start then held = held - effect.ended.amount end
    end
    if effect.taken then
      take(counter, start, effect.taken, before, draw)
      if t.algorithm == 'r' and channel ~= '' then try('PUBLISH', channel, counter.stem) end
      after = math.max(0, before - effect.taken)
    end
    if effect.spent and effect.start ~= start then
      add(counter, effect.start, effect.spent, read(counter, effect.start) or 0, draw)
    elseif effect.spent and effect.spent > 0 then
      add(counter, start, effect.spent, before, draw)
      after = math.min(before + effect.spent, MAX)
    end
    if effect.held then
      add_hold(counter, draw, whole(effect.held))
      held = held + effect.held
    end
    if effect.forgotten then call('ZREM', counter.beside .. ':r', effect.forgotten) end
    if effect.charged then
      local ids = counter.beside .. ':r'
      call('ZREMRANGEBYSCORE', ids, '-inf', now)
      call('ZADD', ids, whole(now + t.remember), effect.charged)
      call('ZREMRANGEBYRANK', ids, 0, -holds_max - 1)
      -- Callers of the same counter may ask that ids be remembered for different times: the longest counts.
      if call('PTTL', ids) < t.remember then expire(ids, t.remember) end
    end
  end
  live[start], counter.live_held[start] = after, held
  local over = effect.over
  if effect.sure and effect.spent and effect.spent > 0 then over = after > t.capacity end
  tell(ceil(before))
  tell(ceil(after))
  tell(held)
  tell((over and 1 or 0) + (effect.ended and 2 or 0))
  tell(reset(counter, over and not effect.sure and effect.excess or 0, after, draw))
end

-- Return what the names of all that is beside a counter begin with; in its slot.
local function beside(stem, algorithm)
  if algorithm ~= 'r' then return stem end
  local open = find(stem, '{', 1, true)
  local close = open and find(stem, '}', open + 1, true)
  if close and close > open + 1 then return stem end
  return '{' .. stem .. '}'
end

local counters = {}

-- Return a counter with all that its draws look at read, or nil and the error.
local function counter_for(draw)
  local counter, problem = counters[draw.stem], nil
  if not counter then
    counter = {
      stem = draw.stem, beside = beside(draw.stem, draw.terms.algorithm), terms = draw.terms, spent = {}, held = {}, live = {}, live_held = {}, ended = {}, endings = 0,
      reserved = {}, reserving = 0, charged = {}, forgotten = {},
    }
    problem = read_holds(counter, draw.start_text)
    if problem then return nil, problem end
    if draw.terms.remember > 0 then
      local size = try('ZCARD', counter.beside .. ':r')
      if type(size) == 'table' then return nil, size.err end
    end
    counters[draw.stem] = counter
  end
  if not counter.spent[draw.start_text] then
    local spent
    spent, problem = read(counter, draw.start_text)
    if not spent then return nil, problem end
    counter.spent[draw.start_text], counter.live[draw.start_text] = spent, spent
    counter.live_held[draw.start_text] = held_in(counter, draw.start_text)
  end
  return counter
end

local next_key, next_arg = 1, 4
local lone, lone_draw = {}, {}

-- Most ledgers are one charge on one counter without holds and ids: by the same rules, without the tables.
local function admit_one(t, stem, role, op, at, is_kept)
  lone.stem, lone.terms = stem, t
  lone_draw.start, lone_draw.finish = ARGV[at + 4] + 0, ARGV[at + 5] + 0
  local before, problem = read(lone, ARGV[at + 4])
  if not before then return problem end
  local hits, after = ARGV[at + 2] + 0, before
  local excess = before + hits - t.capacity
  local over = excess > 0 or (hits == 0 and t.exhausted and excess >= 0)
  if hits > 0 and (op == FORCE or not over or not is_kept or role > QUOTA) then
    add(lone, ARGV[at + 4], hits, before, lone_draw)
    after = math.min(before + hits, MAX)
  end
  if op == FORCE then over, excess = hits > 0 and after > t.capacity, 0 end
  reply[filled + 1], reply[filled + 2], reply[filled + 3] = ceil(before), ceil(after), 0
  reply[filled + 4], reply[filled + 5] = over and 1 or 0, reset(lone, over and excess or 0, after, lone_draw)
  filled = filled + 5
end

local function admit(width, is_kept)
  if width == 1 then
    local t, head = terms(ARGV[next_arg]), ARGV[next_arg + 1] + 0
    local op = floor(head / 4) % 16
    if op <= FORCE and t.hold == 0 and t.remember == 0 then
      return admit_one(t, KEYS[next_key], head % 4, op, next_arg, is_kept)
    end
  end
  local draws, effects, mine = {}, {}, {}
  counters = {}
  for i = 1, width do
    local at = next_arg + 6 * (i - 1)
    local head = ARGV[at + 1] + 0
    local t = terms(ARGV[at])
    local life = floor(head / 64)
    local draw = {
      stem = KEYS[next_key + i - 1], terms = t, op = floor(head / 4) % 16, role = head % 4,
      life = life > 0 and math.min(life, t.hold) or t.hold,
      hits = ARGV[at + 2] + 0, hits_text = ARGV[at + 2], id = ARGV[at + 3],
      start_text = ARGV[at + 4], start = ARGV[at + 4] + 0, finish = ARGV[at + 5] + 0,
    }
    local counter, problem = counter_for(draw)
    if not counter then return problem end
    draws[i], mine[i] = draw, counter
  end
  for i = 1, width do effects[i] = resolve(mine[i], draws[i]) end
  local is_refused = is_kept and refuses(draws, effects)
  for i = 1, width do apply(mine[i], draws[i], effects[i], effects[i].sure or not is_refused) end
end

while ARGV[next_arg] do
  local width = ARGV[next_arg] + 0
  local is_kept = width < 0
  if is_kept then width = -width end
  next_arg = next_arg + 1
  local problem = admit(width, is_kept)
  if problem then
    if find(problem, '^READONLY') then return redis.error_reply(problem) end
    tell(problem)
  end
  next_key = next_key + width
  next_arg = next_arg + 6 * width
end
return reply
