-- Admit many ledgers, each by its own rules; `ratelimit/draw.py` has the rules and the words.
--
-- One file, since a script has nothing to import from. What most calls need stands first; the rest is a function that is
-- called for a ledger that needs it, since to make a function costs a call half a microsecond, needed or not.
--
-- KEYS[i]    stems of the counters, each once. In a cluster the keys themselves that draws are about, there or not: where a slot
--            is on its way to another node they are looked for. The stems are in ARGV then.
--            What belongs to a stem is beside it in its slot, since stems carry a hash tag:
--              <stem>:<start>  spent in a fixed window       <stem>:h3  hash: holds and remembered ids by name, and more
--              <stem>:s        ring of a sliding window      <stem>:d3  sorted set: names by when to look at them again
--              <stem>:b        "level at" of a bucket        <stem>:r   sorted set: charged ids by when forgotten
--            A draw under the reference's counting has its counter's whole key instead; what is beside it is named
--            `{key}:h3` and so on, or `key:h3` where the key has a hash tag by chance, which is in its slot too; where it has
--            braces that are no tag its terms have one of its slot, and it is `<tag>key:h3`.
-- ARGV[1]    now (ms); 0 means "ask this server"
-- ARGV[2]    channel that refunded keys of the reference are told on; empty: none is told
-- ARGV[3]    most holds of one counter
-- ARGV[4]    ledgers, as doubles (little end first): the number of draws + 65536 * (times that it follows itself), negative where
--              all or nothing, and for each draw
--              its stem (of KEYS; negative: of ARGV), terms and id (of ARGV; 0: no id), life * 64 + op * 4 + role, hits, start, end (s);
--              life (ms) is that of the hold, 0: the terms' own. As text they cost more to read than the ledgers to admit
-- ARGV[5..]  ids, and terms "algorithm limit window capacity exhausted hold hold_max remember", and perhaps " tag"
--
-- Returns a flat list. A ledger gives for each draw: spent before, spent after, held, 1 if over + 2 if it ended a hold,
-- ms to its reset; or, once, the text of the error that kept it from being applied. One of a single draw that follows itself, and is
-- about no bucket, gives that of the first of some, how many are told alike, and what each of these adds to what is held: by as much as
-- its first spent do before and after move on with each. So on until all are told. A server that takes no writes is an error of the whole
-- call, since then nothing at all was written.
--
-- What is beside a counter that holds, in :h3 (names of older shapes are never read):
--
--     a<n>, i<id>  a hold "amount:start:due", without an id by its number and with one by that; or when the id is forgotten (ms).
--                  "amount:start:due:times" are several that are equal and follow each other in line
--     t<start>     held in the window that begins then        n  names in it      e  not before that (ms) need be swept
--     f, l         first and last of the line of holds without an id              x  until when (ms) all of it lives
--     u            when the last of that line is due that is in order
--
-- 1. Holds without an id stand in line, and nearly always are due in that order: the first is the oldest, and the first to
--    expire. One that is due before another that stands before it is in :d3 too, as every name with an id is. Equal ones
--    that come in one call have one number, up to TOGETHER of them, which bounds what one name of a listing tells.
-- 2. A counter is read once in a call, however many ledgers speak of it, and written once, at the end: one HMGET, one HSET.
--    What fails before leaves nothing written.
--
-- A script and not MULTI: what is written depends on what was read, of several counters at once.

local call, try, find, match, floor, ceil = redis.call, redis.pcall, string.find, string.match, math.floor, math.ceil
local min, max, format = math.min, math.max, string.format
local KEYS, ARGV, read_numbers = KEYS, ARGV, struct.unpack
local MAX, SLICES, SWEEP, LIVES = 9007199254740991, 32, 1000, 10
local FORCE, RESERVE, SETTLE, BLOCK, QUOTA, RUN, TOGETHER = 1, 3, 4, 0, 1, 65536, 32

local now, channel, holds_max = ARGV[1] + 0, ARGV[2], ARGV[3] + 0
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end

-- A number as Redis takes it: in full, and 0 without a sign.
local function whole(number)
  return number == 0 and '0' or format('%.0f', number)
end

-- A moment in names of keys and fields.
local texts = { [0] = '0' }

local function text_of(number)
  local text = texts[number]
  if not text then
    text = whole(number)
    texts[number] = text
  end
  return text
end

local terms_of = {}

local function terms(index)
  local known = terms_of[index]
  if known then return known end
  local algorithm, limit, window, capacity, exhausted, hold, hold_max, remember, tag =
    match(ARGV[index], '^(%a) (%d+) (%d+) (%d+) (%d) (%d+) (%d+) (%d+) ?(.*)$')
  known = {
    algorithm = algorithm, limit = limit + 0, window = window + 0, capacity = capacity + 0,
    exhausted = exhausted == '1', hold = hold + 0, hold_max = hold_max + 0, remember = remember + 0, memory = hold * LIVES,
    tag = tag,
  }
  terms_of[index] = known
  return known
end

-- Counters of this call, and those of them that are to be written. ----------------------------------------------------

local counters, changed = {}, {}

local function counter_at(index)
  local counter = counters[index]
  if not counter then
    counter = { stem = index > 0 and KEYS[index] or ARGV[-index], spent = {} }
    counters[index] = counter
  end
  return counter
end

local function change(counter)
  if not counter.is_changed then
    counter.is_changed = true
    changed[#changed + 1] = counter
  end
end

local function expire(name, life)
  call('PEXPIRE', name, min(life, 4e14))
end

-- Reading: each takes a counter and returns what is spent, or nil and an error. ---------------------------------------

local function integer(text)
  if not text then return 0 end
  if type(text) == 'table' then return nil, text.err end
  if not find(text, '^-?%d+$') then return nil, 'ERR value is not an integer or out of range' end
  return min(text + 0, MAX)
end

-- Let slices leave that are older than the window; nothing that counts is changed.
local function read_ring(counter, window)
  local name = counter.stem .. ':s'
  local slice = floor(now * SLICES / window)
  local fields = try('HMGET', name, 'i', 't', 'l', slice % (SLICES + 1))
  if fields.err then return nil, fields.err end
  local index, total = (fields[1] or 0) + 0, (fields[2] or 0) + 0
  -- What this slice holds, so that one write can say it all; unknown where a clock was set back.
  counter.count = slice == index and (fields[4] or 0) + 0 or slice > index and 0 or nil
  slice = max(index, slice)
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

local function read_level(counter, t)
  local text = try('GET', counter.stem .. ':b')
  if not text then return 0 end
  if type(text) == 'table' then return nil, text.err end
  local level, at = match(text, '^(%S+) (%d+)$')
  if not level then return nil, 'ERR value is not a bucket' end
  local passed = max(0, now - at)
  return max(0, level - passed * t.limit / t.window)
end

local function read(counter, t, start)
  local spent, problem = counter.spent[start], nil
  if spent then return spent end
  local algorithm = t.algorithm
  if algorithm == 's' then
    spent, problem = read_ring(counter, t.window)
  elseif algorithm == 'b' then
    spent, problem = read_level(counter, t)
  else
    spent, problem = integer(try('GET', algorithm == 'r' and counter.stem or counter.stem .. ':' .. start))
  end
  counter.spent[start] = spent
  return spent, problem
end

-- Writing: each changes one counter, whose type was seen when it was read. --------------------------------------------

local function write_strings(counter)
  for start, delta in pairs(counter.delta) do
    local name = counter.is_whole_key and counter.stem or counter.stem .. ':' .. start
    if delta ~= 0 then call('INCRBY', name, whole(delta)) end
    -- What held nothing may be new.
    if counter.spent[start] == delta and call('PTTL', name) == -1 then expire(name, counter.life[start]) end
  end
  counter.delta = nil
end

local function write_ring(counter)
  if not counter.is_ring_changed then return end
  local name, total, slice = counter.stem .. ':s', whole(counter.spent['0']), counter.slice
  if counter.count then
    call('HSET', name, slice % (SLICES + 1), whole(counter.count), 'i', slice, 't', total, 'l', counter.last)
  else
    call('HSET', name, 'i', slice, 't', total, 'l', counter.last)
  end
  if counter.is_moved then expire(name, 2 * counter.window) end
  counter.is_ring_changed = false
end

local function write_level(counter)
  local t = counter.bucket
  local life = 2 * t.window * max(1, ceil(t.capacity / max(1, t.limit)))
  local text = format('%.17g %.0f', counter.spent['0'], now)
  call('SET', counter.stem .. ':b', text, 'PX', whole(min(life, 4e14)))
end

-- Change what is spent; the draw says how long a window's counter lives.
local function add(counter, t, start, hits, draw)
  local before = counter.spent[start]
  local after = min(before + hits, MAX)
  counter.spent[start] = after
  change(counter)
  if t.algorithm == 's' then
    if counter.count then
      counter.count = counter.count + after - before
    else
      call('HINCRBY', counter.stem .. ':s', counter.slice % (SLICES + 1), whole(after - before))
    end
    counter.last, counter.window, counter.is_ring_changed = counter.slice, t.window, true
  elseif t.algorithm == 'b' then
    counter.bucket = t
  else
    local delta = counter.delta
    if not delta then
      delta = {}
      counter.delta, counter.life = delta, counter.life or {}
      counter.is_whole_key = t.algorithm == 'r'
    end
    delta[start] = (delta[start] or 0) + after - before
    counter.life[start] = counter.is_whole_key and draw.finish * 1000
      or (draw.finish - draw.start) * 1000 + t.hold + t.memory
  end
end

-- Return when `excess` hits have left; where that many never will, or none must, when all have.
local function reset(counter, t, excess, spent, draw)
  local algorithm = t.algorithm
  if algorithm == 'f' then return max(0, draw.finish * 1000 - now) end
  if algorithm == 'r' then return 0 end
  if algorithm == 'b' then
    if t.limit == 0 then return MAX end
    local leaving = (excess > 0 and excess <= spent) and excess or spent
    return min(MAX, ceil(leaving * t.window / t.limit))
  end
  if spent == 0 then return 0 end
  local last = counter.last
  if excess > 0 then
    write_ring(counter)
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
  return max(0, ceil((last + SLICES + 1) * t.window / SLICES) - now)
end

local reply, filled = {}, 0
-- Whether the ledger at hand is told by what some have in common.
local is_run = false

local function tell(before, after, held, flags, reset_ms, times, held_step)
  reply[filled + 1], reply[filled + 2], reply[filled + 3] = ceil(before), ceil(after), held
  reply[filled + 4], reply[filled + 5] = flags, reset_ms
  filled = filled + 5
  if is_run then
    reply[filled + 1], reply[filled + 2] = times or 1, held_step or 0
    filled = filled + 2
  end
end

local ledgers = ARGV[4]
local at, DRAW = 1, '<ddddddd'
local lone_draw = {}

-- Most ledgers are one charge on one counter without holds and ids: by the same rules, without what they need. Return how many
-- of equal ones were told alike: all that fit, or all that do not.
local function charge(t, counter, role, op, is_kept, hits, start, times)
  local before, alike = counter.spent[start], 1
  local excess = before + hits - t.capacity
  local over = excess > 0 or (hits == 0 and t.exhausted and excess >= 0)
  local is_spent = hits > 0 and (op == FORCE or not over or not is_kept or role > QUOTA)
  if is_run then
    if not is_spent then
      alike = times
    elseif not over then
      alike = min(times, floor((t.capacity - before) / hits))
    elseif (op == FORCE or t.algorithm ~= 's') and before + times * hits <= MAX then
      alike = times
    end
  end
  if is_spent then add(counter, t, start, alike * hits, lone_draw) end
  local after = is_spent and min(before + hits, MAX) or before
  if op == FORCE then over, excess = hits > 0 and after > t.capacity, 0 end
  tell(before, after, 0, over and 1 or 0, reset(counter, t, over and excess or 0, after, lone_draw), alike)
  return alike
end

local function admit_one(t, counter, role, op, is_kept, hits, start_number, finish, times)
  local start, left = text_of(start_number), times
  lone_draw.start, lone_draw.finish = start_number, finish
  local spent, problem = read(counter, t, start)
  if not spent then return problem end
  while left > 0 do left = left - charge(t, counter, role, op, is_kept, hits, start, left) end
end

-- Return what admits all other ledgers, and what writes the holds of a counter. Not indented, being most of the file. ---

local function all_else()

local CHARGE, REFUND, RELEASE, AUTO, LEASE = 0, 2, 5, 6, 7
-- Arguments of one command: Lua's stack holds 8,000.
local SWEEP, AT_ONCE = 1000, 1000

local function take(counter, t, start, hits, draw)
  local before = counter.spent[start]
  hits = min(hits, max(0, before))
  if hits == 0 then return end
  if t.algorithm ~= 's' then return add(counter, t, start, -hits, draw) end
  write_ring(counter)
  local name, left = counter.stem .. ':s', hits
  for i = counter.slice - SLICES, counter.slice do
    local field = i % (SLICES + 1)
    local taken = min(left, (call('HGET', name, field) or 0) + 0)
    if taken > 0 then call('HINCRBY', name, field, whole(-taken)) end
    left = left - taken
    if left == 0 then break end
  end
  call('HSET', name, 't', whole(before - hits))
  counter.spent[start], counter.count = before - hits, nil
end

-- Holds: a table in this call, `number` in the line or `id`; `times` of them. ----------------------------------------------------------

-- Read a hold, when an id is forgotten, or false.
local function parsed(text)
  if not text then return false end
  local amount, start, due, times = match(text, '^(%d+):(%d+):(%d+):?(%d*)$')
  if not amount then return tonumber(text) or false end
  return { amount = amount + 0, start = start, due = due + 0, times = tonumber(times) or 1 }
end

-- Return the hold that stands in line at a number, or false.
local function line_at(counter, number)
  local hold = counter.line[number]
  if hold == nil then
    hold = parsed(call('HGET', counter.holds, 'a' .. number))
    if hold then hold.number = number end
    counter.line[number] = hold
  end
  return hold
end

-- Read the first so many numbers of the line at once.
local function fetch_line(counter, most)
  local names, numbers = {}, {}
  for number = counter.head, min(counter.tail, counter.head + min(most, AT_ONCE) - 1) do
    if counter.line[number] == nil then
      names[#names + 1], numbers[#numbers + 1] = 'a' .. number, number
    end
  end
  if #names == 0 then return end
  for i, text in ipairs(call('HMGET', counter.holds, unpack(names))) do
    local hold = parsed(text)
    if hold then hold.number = numbers[i] end
    counter.line[numbers[i]] = hold
  end
end

-- Return the hold of an id, when it is forgotten, or false.
local function known_as(counter, id)
  local known = counter.named[id]
  if known == nil then
    known = parsed(call('HGET', counter.holds, 'i' .. id))
    if type(known) == 'table' then known.id = id end
    counter.named[id] = known
  end
  return known
end

-- Have what is beside a counter be written.
local function touch(counter)
  counter.is_touched = true
  change(counter)
end

local function held_in(counter, t, start)
  if t.hold == 0 then return 0 end
  local held = counter.held[start]
  if not held then
    held = (call('HGET', counter.holds, 't' .. start) or 0) + 0
    counter.held[start] = held
  end
  return held
end

local function hold_more(counter, t, start, amount)
  counter.held[start] = held_in(counter, t, start) + amount
  counter.moves[start] = true
  touch(counter)
end

local function name_as(counter, id, known, due)
  counter.named[id], counter.puts[id], counter.dues['i' .. id] = known, true, due
  touch(counter)
end

-- Have nobody find some of equal holds any more; an id is remembered. What they hold is given back by `hold_more`.
local function close(counter, hold, forget_at, times)
  local number = hold.number
  if not number then
    local is_known = forget_at > now
    return name_as(counter, hold.id, is_known and forget_at, is_known and forget_at)
  end
  hold.times = hold.times - times
  if hold.times > 0 then return touch(counter) end
  counter.line[number] = false
  if number <= counter.tail_was then counter.gone[#counter.gone + 1] = 'a' .. number end
  if number == counter.head then counter.head = number + 1 end
  touch(counter)
end

-- Do what is due under a name of :d3: a hold is given back, an id is forgotten.
local function end_name(counter, t, name)
  local is_named, rest = string.sub(name, 1, 1) == 'i', string.sub(name, 2)
  local known = is_named and known_as(counter, rest) or not is_named and line_at(counter, rest + 0)
  local is_hold = type(known) == 'table'
  if is_hold and known.due > now then
    -- The same name, of a set that outlived its holds.
    counter.dues[name] = is_named and known.due
    return
  end
  counter.dues[name] = false
  local times = is_hold and known.times or 1
  if is_hold then
    close(counter, known, known.due + t.memory, times)
    hold_more(counter, t, known.start, -known.amount * times)
  elseif known then
    name_as(counter, rest, false, false)
  end
  if known and not counter.dues[name] then counter.known = counter.known - times end
end

-- End what is due, and find out when to look again; return an error.
local function sweep(counter, t)
  local dues = counter.beside .. ':d3'
  local names = try('ZRANGEBYSCORE', dues, '-inf', now, 'LIMIT', 0, SWEEP)
  if names.err then return names.err end
  for _, name in ipairs(names) do end_name(counter, t, name) end
  local earliest, looks = #names < SWEEP and MAX or now, 0
  while counter.head <= counter.tail do
    local hold = line_at(counter, counter.head)
    looks = looks + 1
    if not hold then
      counter.head = counter.head + 1
    elseif hold.due > now or looks > SWEEP then
      earliest = min(earliest, hold.due)
      break
    else
      local times = hold.times
      close(counter, hold, now, times)
      hold_more(counter, t, hold.start, -hold.amount * times)
      counter.known = counter.known - times
    end
  end
  for _, at in pairs(counter.dues) do earliest = min(earliest, at or MAX) end
  local first = call('ZRANGEBYSCORE', dues, '(' .. whole(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  counter.earliest = min(earliest, first[2] and first[2] + 0 or MAX)
  touch(counter)
end

-- Return what the names of all that is beside a counter begin with; in its slot.
local function beside(stem, t)
  if t.algorithm ~= 'r' then return stem end
  if t.tag ~= '' then return t.tag .. stem end
  local open = find(stem, '{', 1, true)
  local shut = open and find(stem, '}', open + 1, true)
  if shut and shut > open + 1 then return stem end
  return '{' .. stem .. '}'
end

-- Read what is beside a counter; return an error if it is not what it should be.
local function read_holds(counter, t, start)
  local base = beside(counter.stem, t)
  local holds = base .. ':h3'
  local fields = try('HMGET', holds, 't' .. start, 'n', 'e', 'f', 'l', 'u', 'x')
  if fields.err then return fields.err end
  counter.beside, counter.holds = base, holds
  counter.line, counter.named, counter.puts, counter.gone, counter.dues, counter.moves = {}, {}, {}, {}, {}, {}
  counter.held = { [start] = (fields[1] or 0) + 0 }
  counter.known, counter.earliest = (fields[2] or 0) + 0, (fields[3] or MAX) + 0
  counter.head, counter.tail = (fields[4] or 1) + 0, (fields[5] or 0) + 0
  counter.order, counter.ends = (fields[6] or 0) + 0, (fields[7] or 0) + 0
  counter.tail_was, counter.stays = counter.tail, t.hold + t.memory
  if counter.earliest <= now then return sweep(counter, t) end
end

-- Return the hold of an id, or the oldest without one.
local function find_hold(counter, t, id)
  if t.hold == 0 then return nil end
  if id ~= '' then
    local known = known_as(counter, id)
    return type(known) == 'table' and known or nil
  end
  while counter.head <= counter.tail do
    local hold = line_at(counter, counter.head)
    if hold then return hold end
    counter.head = counter.head + 1
    touch(counter)
  end
end

-- Let holds without an id stand in line, which it ends with.
local function line_up(counter, amount, start, due, times)
  local last = counter.tail > counter.tail_was and counter.line[counter.tail]
  if last and last.amount == amount and last.due == due and last.start == start and last.times + times <= TOGETHER then
    last.times = last.times + times
    return
  end
  if counter.head > counter.tail then counter.order = 0 end
  if due < counter.order then counter.dues['a' .. counter.tail + 1] = due else counter.order = due end
  counter.tail = counter.tail + 1
  counter.line[counter.tail] = { amount = amount, start = start, due = due, times = times, number = counter.tail }
end

local function add_hold(counter, draw, amount, times)
  local t, id, start, due = draw.terms, draw.id, draw.start_text, now + draw.life
  if id ~= '' then
    if not known_as(counter, id) then counter.known = counter.known + 1 end
    name_as(counter, id, { amount = amount, start = start, due = due, times = 1, id = id }, due)
  else
    counter.known = counter.known + times
    for first = 1, times, TOGETHER do line_up(counter, amount, start, due, min(TOGETHER, times - first + 1)) end
  end
  hold_more(counter, t, start, amount * times)
  counter.earliest, counter.stays = min(counter.earliest, due), max(counter.stays, t.hold + t.memory)
end

-- Send a command with a list of arguments, as often as it takes.
local function send(command, name, list)
  for i = 1, #list, AT_ONCE do call(command, name, unpack(list, i, min(i + AT_ONCE - 1, #list))) end
end

local function write_dues(counter)
  local dues, sets, gone = counter.beside .. ':d3', {}, {}
  for name, at in pairs(counter.dues) do
    if at then
      sets[#sets + 1] = whole(at)
      sets[#sets + 1] = name
    else
      gone[#gone + 1] = name
    end
  end
  send('ZREM', dues, gone)
  send('ZADD', dues, sets)
  -- It is gone when the last name has left it, and its life with it.
  if #sets > 0 and call('PTTL', dues) < counter.stays then expire(dues, 2 * counter.stays) end
end

local function write_holds(counter)
  local gone, sets = counter.gone, {
    'n', whole(counter.known), 'e', whole(counter.earliest), 'f', counter.head, 'l', counter.tail, 'u', whole(counter.order),
  }
  local function put(name, known)
    if not known then
      gone[#gone + 1] = name
      return
    end
    if type(known) == 'table' then
      local times = known.times > 1 and ':' .. known.times or ''
      known = whole(known.amount) .. ':' .. known.start .. ':' .. whole(known.due) .. times
    end
    sets[#sets + 1], sets[#sets + 2] = name, type(known) == 'number' and whole(known) or known
  end
  local first = counter.line[counter.head]
  -- Of the first that was there some may have ended.
  if first and counter.head <= counter.tail_was then put('a' .. counter.head, first) end
  for number = max(counter.head, counter.tail_was + 1), counter.tail do
    if counter.line[number] then put('a' .. number, counter.line[number]) end
  end
  for id in pairs(counter.puts) do put('i' .. id, counter.named[id]) end
  for start in pairs(counter.moves) do put('t' .. start, counter.held[start] > 0 and counter.held[start]) end
  -- Lives are lengthened by twice what is needed, and so only now and then.
  local is_short = counter.ends < now + counter.stays
  if is_short then put('x', now + 2 * counter.stays) end
  send('HDEL', counter.holds, gone)
  send('HSET', counter.holds, sets)
  if is_short then expire(counter.holds, 2 * counter.stays) end
  if next(counter.dues) then write_dues(counter) end
end

-- Deciding. -----------------------------------------------------------------------------------------------------------

local function fingerprint(draw, op)
  if draw.terms.remember == 0 or draw.id == '' or draw.hits == 0 or op == RESERVE or op == RELEASE or op == LEASE then
    return nil
  end
  return (op == REFUND and 'r' or 'c') .. whole(draw.hits) .. ':' .. draw.id
end

local function is_repeat(counter, charged)
  local trial = counter.trial
  if trial.charged[charged] then return true end
  if trial.forgotten[charged] then return false end
  local until_ms = call('ZSCORE', counter.ids, charged)
  return until_ms and until_ms + 0 > now
end

-- Resolve what has happened and is always applied. A hold is found once: the next draw finds another.
local function tell_of(counter, draw, effect, op)
  local trial, start, t, found = counter.trial, draw.start_text, draw.terms, nil
  effect.sure, effect.over = true, false
  if op ~= FORCE and (draw.id ~= '' or op ~= REFUND) then found = find_hold(counter, t, draw.id) end
  if found then
    close(counter, found, now + t.memory, 1)
    trial.held[found.start] = (trial.held[found.start] or held_in(counter, t, found.start)) - found.amount
    effect.ended = found
    -- Where its window cannot be read, it is late.
    if found.start ~= start and read(counter, t, found.start) then effect.start = found.start end
  end
  if op == FORCE or op == SETTLE then
    effect.spent = draw.hits
    trial.spent[effect.start] = (trial.spent[effect.start] or counter.spent[effect.start]) + draw.hits
  elseif op == REFUND and not found then
    effect.taken = draw.hits
    trial.spent[start] = max(0, (trial.spent[start] or counter.spent[start]) - draw.hits)
    if draw.id ~= '' and t.remember > 0 then
      effect.forgotten = 'c' .. whole(draw.hits) .. ':' .. draw.id
      trial.forgotten[effect.forgotten], trial.charged[effect.forgotten] = true, nil
    end
  end
end

-- Resolve a hold; one that is there already is answered as it was.
local function ask_for(counter, draw, effect, total, held)
  local t, trial, id = draw.terms, counter.trial, draw.id
  local hits = min(draw.hits, t.hold_max)
  effect.excess = total + hits - t.capacity
  if id ~= '' and (trial.reserved[id] or find_hold(counter, t, id)) then
    effect.over = false
    return
  end
  effect.over = effect.excess > 0 or counter.known + trial.reserving >= holds_max
  effect.held, trial.held[draw.start_text] = hits, held + hits
  trial.reserving = trial.reserving + 1
  if id ~= '' then trial.reserved[id] = true end
end

-- Say what a draw does if it is applied, having regard to what earlier draws of the ledger want.
local function resolve(counter, draw, effect)
  local start, t, trial, op = draw.start_text, draw.terms, counter.trial, draw.op
  local spent, held = trial.spent[start] or counter.spent[start], trial.held[start] or held_in(counter, t, start)
  local total = spent + held
  effect.start, effect.excess, effect.sure, effect.spent, effect.taken = start, 0, false, 0, 0
  effect.held, effect.ended, effect.charged, effect.forgotten = nil, nil, nil, nil
  if op == AUTO then op = known_as(counter, draw.id) and SETTLE or RESERVE end
  local charged = fingerprint(draw, op)
  if charged then
    if is_repeat(counter, charged) then
      effect.over = total > t.capacity
      return
    end
    effect.charged, trial.charged[charged] = charged, true
  end
  if op == RESERVE then return ask_for(counter, draw, effect, total, held) end
  if op == CHARGE then
    effect.excess = total + draw.hits - t.capacity
    effect.over = effect.excess > 0 or (draw.hits == 0 and t.exhausted and effect.excess >= 0)
    effect.spent = draw.hits
    trial.spent[start] = spent + draw.hits
  elseif op == LEASE then
    effect.spent = max(0, min(draw.hits, floor(t.capacity - total)))
    effect.over = effect.spent == 0
    trial.spent[start] = spent + effect.spent
  else
    tell_of(counter, draw, effect, op)
  end
end

local function refuses(draws, effects, width)
  local quotas, quotas_over = 0, 0
  for i = 1, width do
    local role = draws[i].role
    if role == QUOTA then
      quotas = quotas + 1
      if effects[i].over then quotas_over = quotas_over + 1 end
    elseif role == BLOCK and effects[i].over and not effects[i].sure then
      return true
    end
  end
  return quotas > 0 and quotas == quotas_over
end

local function remember(counter, t, charged)
  local ids = counter.ids
  call('ZREMRANGEBYSCORE', ids, '-inf', now)
  call('ZADD', ids, whole(now + t.remember), charged)
  call('ZREMRANGEBYRANK', ids, 0, -holds_max - 1)
  -- Callers of the same counter may ask that ids be remembered for different times: the longest counts.
  if call('PTTL', ids) < t.remember then expire(ids, t.remember) end
end

local function write_effect(counter, draw, effect)
  local t, ended = draw.terms, effect.ended
  if ended then
    hold_more(counter, t, ended.start, -ended.amount)
    if ended.number then counter.known = counter.known - 1 end
  end
  if effect.taken > 0 then
    take(counter, t, effect.start, effect.taken, draw)
    if t.algorithm == 'r' and channel ~= '' then try('PUBLISH', channel, counter.stem) end
  end
  if effect.spent > 0 then add(counter, t, effect.start, effect.spent, draw) end
  if effect.held then add_hold(counter, draw, effect.held, 1) end
  if effect.forgotten then call('ZREM', counter.ids, effect.forgotten) end
  if effect.charged then remember(counter, t, effect.charged) end
end

local function apply(counter, draw, effect, is_applied)
  local start, t, over = draw.start_text, draw.terms, effect.over
  local before = counter.spent[start]
  if is_applied then write_effect(counter, draw, effect) end
  local after, excess = counter.spent[start], 0
  if effect.sure then over = effect.spent > 0 and after > t.capacity elseif over then excess = effect.excess end
  local flags = (over and 1 or 0) + (effect.ended and 2 or 0)
  tell(before, after, held_in(counter, t, start), flags, reset(counter, t, excess, after, draw))
end

-- Number of the ledger at hand.
local ledger = 0

-- Return what earlier draws of this ledger want of a counter.
local function begin_trial(counter)
  local trial = counter.trial
  if not trial then
    trial = { spent = {}, held = {} }
    counter.trial = trial
  end
  for start in pairs(trial.spent) do trial.spent[start] = nil end
  for start in pairs(trial.held) do trial.held[start] = nil end
  trial.reserving, trial.reserved, counter.ledger = 0, nil, ledger
  return trial
end

-- Return a counter with all that its draws look at read, or nil and the error.
local function counter_for(draw)
  local counter, t, id, problem = counter_at(draw.stem), draw.terms, draw.id, nil
  if t.hold > 0 then
    if not counter.holds then problem = read_holds(counter, t, draw.start_text) end
    if problem then return nil, problem end
    if not counter.has_dues and (id ~= '' or now + draw.life < max(counter.order, now + t.hold)) then
      local size = try('ZCARD', counter.beside .. ':d3')
      if type(size) == 'table' then return nil, size.err end
      counter.has_dues = true
    end
  end
  if t.remember > 0 and not counter.ids then
    local ids = beside(counter.stem, t) .. ':r'
    local size = try('ZCARD', ids)
    if type(size) == 'table' then return nil, size.err end
    counter.ids = ids
  end
  local spent
  spent, problem = read(counter, t, draw.start_text)
  if not spent then return nil, problem end
  local trial = counter.ledger == ledger and counter.trial or begin_trial(counter)
  if id ~= '' and not trial.reserved then trial.reserved, trial.charged, trial.forgotten = {}, {}, {} end
  return counter
end

-- Of the ledger at hand; the tables of its draws are used again.
local draws, effects, mine = {}, {}, {}

local function read_draw(i)
  local draw = draws[i]
  if not draw then
    draw = {}
    draws[i], effects[i] = draw, {}
  end
  local stem, of_terms, id, head, hits, start, finish = read_numbers(DRAW, ledgers, at + 56 * (i - 1))
  local t, life = terms(of_terms), floor(head / 64)
  draw.stem, draw.terms, draw.op, draw.role = stem, t, floor(head / 4) % 16, head % 4
  draw.life = life > 0 and min(life, t.hold) or t.hold
  draw.hits, draw.id, draw.start_text, draw.start, draw.finish = hits, id > 0 and ARGV[id] or '', text_of(start), start, finish
  return draw
end

local function admit_all(width, is_kept)
  ledger = ledger + 1
  for i = 1, width do
    local counter, problem = counter_for(read_draw(i))
    if not counter then return problem end
    mine[i] = counter
  end
  for i = 1, width do resolve(mine[i], draws[i], effects[i]) end
  local is_refused = is_kept and refuses(draws, effects, width)
  for i = 1, width do apply(mine[i], draws[i], effects[i], effects[i].sure or not is_refused) end
end

-- As many of equal draws at once as are told alike: all that fit, or all that do not.
local function reserve_alike(counter, t, before, draw, hits, must_fit, times)
  local amount, start, left = min(hits, t.hold_max), draw.start_text, times
  while left > 0 do
    local held, alike, step = held_in(counter, t, start), 1, 0
    local excess = before + held + amount - t.capacity
    local over = excess > 0 or counter.known >= holds_max
    if is_run and not over then
      alike = min(left, holds_max - counter.known, amount > 0 and floor((t.capacity - before - held) / amount) or left)
    elseif is_run and must_fit then
      alike = left
    end
    if not over or not must_fit then
      add_hold(counter, draw, amount, alike)
      step = amount
    end
    tell(before, before, held + step, over and 1 or 0, reset(counter, t, over and excess or 0, before, draw), alike, step)
    left = left - alike
  end
end

-- The same of those that settle: all that end equal holds, or none, and leave the counter at its limit, or above.
local function settle_alike(counter, t, draw, hits, times)
  local start, left, ahead = draw.start_text, times, 1
  while left > 0 do
    if left > 1 and counter.line[counter.head] == nil then
      fetch_line(counter, min(left, ahead))
      ahead = 2 * ahead
    end
    local before, found, spent_in, alike, step = counter.spent[start], find_hold(counter, t, ''), start, left, 0
    if found then
      alike, step = min(left, found.times), found.start == start and found.amount or 0
      -- Where its window cannot be read, it is late.
      if found.start ~= start and read(counter, t, found.start) then spent_in = found.start end
    end
    local spent = spent_in == start and hits or 0
    if not is_run or before + alike * spent > MAX then
      alike = 1
    elseif spent > 0 and before + spent <= t.capacity then
      alike = min(alike, floor((t.capacity - before) / spent))
    end
    if found then
      close(counter, found, now, alike)
      hold_more(counter, t, found.start, -found.amount * alike)
      counter.known = counter.known - alike
    end
    if hits > 0 then add(counter, t, spent_in, alike * hits, draw) end
    local after, held = min(before + spent, MAX), held_in(counter, t, start) + (alike - 1) * step
    local flags = (hits > 0 and after > t.capacity and 1 or 0) + (found and 2 or 0)
    tell(before, after, held, flags, reset(counter, t, 0, after, draw), alike, -step)
    left = left - alike
  end
end

-- Most ledgers that hold or settle are one draw without an id: by the same rules, without what several draws need. Return an
-- error, and whether these need it after all.
local function hold_one(t, counter, role, op, is_kept, hits, start_number, finish, times)
  local start, draw, problem = text_of(start_number), lone_draw, nil
  if not counter.holds then problem = read_holds(counter, t, start) end
  if problem then return problem end
  -- Others live longer, so it would not be the last of the line to expire.
  if now + t.hold < counter.order then return nil, true end
  local before
  before, problem = read(counter, t, start)
  if not before then return problem end
  draw.terms, draw.id, draw.life = t, '', t.hold
  draw.start_text, draw.start, draw.finish = start, start_number, finish
  if op == RESERVE then
    reserve_alike(counter, t, before, draw, hits, is_kept and role <= QUOTA, times)
  else
    settle_alike(counter, t, draw, hits, times)
  end
end

return admit_all, write_holds, hold_one
end

-- ---------------------------------------------------------------------------------------------------------------------

local admit_all, write_holds, hold_one

local function fail(problem, times)
  for _ = 1, problem and times or 0 do
    filled = filled + 1
    reply[filled] = problem
  end
  return problem
end

-- Return the last error.
local function admit(width, is_kept, times)
  local stem, of_terms, id, head, hits, start, finish = read_numbers(DRAW, ledgers, at)
  local t, op, role = terms(of_terms), floor(head / 4), head % 4
  local is_lone = width == 1 and t.remember == 0
  is_run = width == 1 and times > 1 and t.algorithm ~= 'b'
  if is_lone and op <= FORCE and t.hold == 0 then
    return fail(admit_one(t, counter_at(stem), role, op, is_kept, hits, start, finish, times), times)
  end
  if not admit_all then admit_all, write_holds, hold_one = all_else() end
  -- A life of its own is above these.
  if is_lone and t.hold > 0 and id == 0 and (op == RESERVE or op == SETTLE) then
    local problem, is_other = hold_one(t, counter_at(stem), role, op, is_kept, hits, start, finish, times)
    if not is_other then return fail(problem, times) end
  end
  local problem
  for _ = 1, times do problem = fail(admit_all(width, is_kept), 1) end
  return problem
end

while at <= #ledgers do
  local head = read_numbers('<d', ledgers, at)
  local is_kept = head < 0
  if is_kept then head = -head end
  local width = head % RUN
  at = at + 8
  local problem = admit(width, is_kept, floor(head / RUN) + 1)
  if problem and find(problem, '^READONLY') then return redis.error_reply(problem) end
  at = at + 56 * width
end
for _, counter in ipairs(changed) do
  if counter.is_touched then write_holds(counter) end
  if counter.delta then write_strings(counter) end
  if counter.bucket then write_level(counter) end
  write_ring(counter)
end
return reply
