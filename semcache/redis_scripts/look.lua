-- Say how long a key is still held.
--
-- KEYS[1]    due: sorted set of held keys by the end of their lease (ms)
-- ARGV[1]    now (ms); 0 means "ask this server"    ARGV[2]  key
--
-- Returns milliseconds; 0 if nobody holds it.
--
-- A script and not ZSCORE: what is left is counted by this server's clock, as it was granted.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local due = redis.call('ZSCORE', KEYS[1], ARGV[2])
if not due then
  return 0
end
return math.max(0, tonumber(due) - now)
