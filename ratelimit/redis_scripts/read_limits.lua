-- Tell what changed among dynamic limits after a version, oldest first.
--
-- KEYS[1..3]  state, limits and changes, as put_limit.lua has them
-- ARGV[1]     now (ms); 0 means "ask this server"
-- ARGV[2]     version      ARGV[3] most changes
--
-- Returns {born, version, floor, now, name, version, row, …}; a row is empty where the limit was cleared, or has ended.
--
-- A script and not MULTI: what to read depends on the version that is there, and all of it is of one moment. Most often it
-- is the version that was asked for, and nothing else is read.

local call = redis.call
local now = tonumber(ARGV[1])
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local state = call('HMGET', KEYS[1], 'born', 'version', 'floor')
local version = tonumber(state[2] or 0)
local reply = {state[1] or '', version, tonumber(state[3] or 0), now}
if version <= tonumber(ARGV[2]) then return reply end

local found = call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #found, 2 do
  local row = call('HGET', KEYS[2], found[i]) or ''
  local last = tonumber(string.match(row, '%S+$') or 0)
  if last > 0 and last <= now then row = '' end
  local place = #reply
  reply[place + 1], reply[place + 2], reply[place + 3] = found[i], tonumber(found[i + 1]), row
end
return reply
