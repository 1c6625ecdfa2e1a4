-- Give a held key back, if it is still held by this token, and tell all replicas.
--
-- KEYS[1]    due: sorted set of held keys by the end of their lease (ms)
-- KEYS[2]    held: hash of held keys: token, then note
-- ARGV[1]    key    ARGV[2]  token (32 bytes)
-- ARGV[3]    channel to tell on    ARGV[4]  what to tell
--
-- Returns 1, or 0 if it is not held by this token.
--
-- A script: the token is compared and the key given back in one step, or a lease that ran out in
-- between would be taken from its next holder.
local value = redis.call('HGET', KEYS[2], ARGV[1])
if not value or string.sub(value, 1, 32) ~= ARGV[2] then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
