-- KEYS: granted limits by counter. ARGV: "grant", the counter, the limit and how many there may be; "revoke" and the
-- counter; or "forget" and counters whose limit may be over. The answer: the limit of the counter before.
local GRANTED, verb, counter = KEYS[1], ARGV[1], ARGV[2]
local now = server_time()

local function found(name)
  local text = redis.call('HGET', GRANTED, name)
  if text and granted_amount(text, now) then return text end
end

local before = found(counter)
if verb == 'revoke' then
  redis.call('HDEL', GRANTED, counter)
elseif verb == 'forget' then
  for i = 2, #ARGV do
    if not found(ARGV[i]) then redis.call('HDEL', GRANTED, ARGV[i]) end
  end
elseif not before and redis.call('HLEN', GRANTED) >= tonumber(ARGV[4]) then
  return { 'full', precise(now), '' }
else
  redis.call('HSET', GRANTED, counter, ARGV[3])
end
return { 'granted', precise(now), before or '' }
