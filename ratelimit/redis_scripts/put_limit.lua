-- Put a dynamic limit in force, or clear it.
--
-- KEYS[1]  state: `born`, `version` and `floor` of the store, a hash
-- KEYS[2]  limits by name, a hash of "amount version end (ms, 0: none)"
-- KEYS[3]  changes: names by their version, also of what was cleared
-- KEYS[4]  cleared: names by the version under which they were, or were put before they ended
-- KEYS[5]  ends: names by their end (ms)
-- ARGV[1]  now (ms); 0 means "ask this server"      ARGV[2] name
-- ARGV[3]  amount; empty: clear                     ARGV[4] life (ms); 0: no end
-- ARGV[5]  expected version; empty: any             ARGV[6] most limits       ARGV[7] most that is remembered as cleared
--
-- Returns {word, version, end}: `done`; `none` where there was nothing to clear; `full`; `conflict`, with the version that
-- there is.
--
-- A script and not MULTI: whether to write depends on the version that is there, and a reader never sees a change without
-- its version.

local state, rows, changes, cleared, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local name, amount, expected = ARGV[2], ARGV[3], ARGV[5]
local call = redis.call
local time = call('TIME')
local now = tonumber(ARGV[1])
if now == 0 then now = time[1] * 1000 + math.floor(time[2] / 1000) end

local SWEEP_MAX = 100

-- Take a limit away, and remember that it was there.
local function remove(which, version)
  call('HDEL', rows, which)
  call('ZREM', ends, which)
  call('ZADD', changes, version, which)
  call('ZADD', cleared, version, which)
end

local function version_of(which)
  local row = call('HGET', rows, which)
  return row and tonumber(string.match(row, '^%S+ (%S+)')) or 0
end

local function forget_oldest()
  local over = call('ZCARD', cleared) - tonumber(ARGV[7])
  if over <= 0 then return end
  local gone = call('ZPOPMIN', cleared, over)
  local floor = tonumber(call('HGET', state, 'floor') or 0)
  for i = 1, #gone, 2 do
    call('ZREM', changes, gone[i])
    floor = math.max(floor, tonumber(gone[i + 1]))
  end
  call('HSET', state, 'floor', string.format('%.0f', floor))
end

local function text(number)
  return string.format('%.0f', number)
end

if call('ZSCORE', ends, name) and tonumber(call('ZSCORE', ends, name)) <= now then remove(name, version_of(name)) end
for _, each in ipairs(call('ZRANGEBYSCORE', ends, '-inf', text(now), 'LIMIT', 0, SWEEP_MAX)) do
  remove(each, version_of(each))
end
forget_oldest()

local known = version_of(name)
if expected ~= '' and tonumber(expected) ~= known then return {'conflict', known, 0} end
if amount == '' and known == 0 then return {'none', 0, 0} end
if amount ~= '' and known == 0 and call('HLEN', rows) >= tonumber(ARGV[6]) then return {'full', 0, 0} end

call('HSETNX', state, 'born', time[1] .. '.' .. time[2])
local version = call('HINCRBY', state, 'version', 1)
if amount == '' then
  remove(name, version)
  forget_oldest()
  return {'done', version, 0}
end
local last = tonumber(ARGV[4])
if last > 0 then last = now + last end
call('HSET', rows, name, amount .. ' ' .. version .. ' ' .. text(last))
call('ZADD', changes, version, name)
call('ZREM', cleared, name)
if last > 0 then call('ZADD', ends, last, name) else call('ZREM', ends, name) end
return {'done', version, last}
