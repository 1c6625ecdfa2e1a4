-- Hold a key of a group, unless somebody does; say who else holds what there.
--
-- KEYS[1]    due: sorted set of held keys by the end of their lease (ms)
-- KEYS[2]    held: hash of held keys: token, then note
-- ARGV[1]    now (ms); 0 means "ask this server"
-- ARGV[2]    key            ARGV[3]  token (32 bytes)   ARGV[4]  note
-- ARGV[5]    time to hold (ms)
-- ARGV[6]    most keys of a group   ARGV[7]  most others told of
--
-- Returns {} if somebody holds the key; else {key, note, …} of the others, oldest first, behind
-- a first element that is 1, or 0 where the group was full and nothing is kept.
--
-- A script: whether to write depends on what was read, and of two that take near-equal prompts at
-- the same time the later one must see the earlier.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
for _, key in ipairs(gone) do
  redis.call('ZREM', KEYS[1], key)
  redis.call('HDEL', KEYS[2], key)
end

local due = redis.call('ZSCORE', KEYS[1], ARGV[2])
if due and tonumber(due) > now then
  return {}
end

local answer = {1}
local last = tonumber(ARGV[7])
if last > 0 then
  -- Ends of leases are told from beginnings by nothing but their length, which is one setting.
  local others = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. now, 'LIMIT', 0, last)
  for index = #others, 1, -1 do
    local value = redis.call('HGET', KEYS[2], others[index])
    if value then
      answer[#answer + 1] = others[index]
      answer[#answer + 1] = string.sub(value, 33)
    end
  end
end

if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) then
  answer[1] = 0
  return answer
end
local ttl = tonumber(ARGV[5])
redis.call('ZADD', KEYS[1], now + ttl, ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. ARGV[4])
for index = 1, 2 do
  -- Collection only: the ends of leases are in the set.
  if redis.call('PTTL', KEYS[index]) < ttl then
    redis.call('PEXPIRE', KEYS[index], ttl)
  end
end
return answer
