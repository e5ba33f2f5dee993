-- KEYS: leases by expiry, this lease, index of gates that are not closed, then the counters of the grant, then gates.
-- ARGV: id, the amounts by unit, the grant's lines, the gates, how long a settled lease is remembered, when it was granted.
local LEASES, LEASE, OPEN, FIRST = KEYS[1], KEYS[2], KEYS[3], 4

local id, amounts, placed, gates = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3]), cjson.decode(ARGV[4])
local now = server_time()

-- A lease that this server does not know (it was restarted empty) is charged where the grant says; one that was granted so
-- long ago that it may have been forgotten has ended and been counted.
local function from_grant()
  local lines = {}
  for i, line in ipairs(placed) do
    lines[i] = { key = KEYS[FIRST + i - 1], bucket = line.bucket, unit = line.unit, amount = '0', width = 0 }
  end
  local forgotten = now - tonumber(ARGV[6]) > tonumber(ARGV[5])
  return { state = forgotten and 'settled' or 'lost', lines = lines }
end

local function settle(line, state)
  if line.unit == '' then return end
  local actual = amounts[line.unit] or '0'
  if state == 'held' then
    release(line)
  elseif state == 'abandoned' then
    actual = whole(tonumber(actual) - tonumber(line.amount))
  end
  if line.width > 0 and tonumber(line.bucket) < find_bucket(line, now).oldest then return end
  charge(line, actual)
end

-- Lists a gate that is not closed, for as long as it is kept, and forgets some that are not kept any more.
local function list(key, kept)
  local gone = redis.call('ZRANGEBYSCORE', OPEN, '-inf', precise(now), 'LIMIT', 0, 20)
  if #gone > 0 then redis.call('ZREM', OPEN, unpack(gone)) end
  redis.call('ZADD', OPEN, precise(now + kept), key)
  redis.call('EXPIRE', OPEN, FORGOTTEN_AFTER)
end

-- The gate after this settle: cooling down is not prolonged; too much spend opens; a probe that spent something closes.
local function judge(key, gate)
  local kept = math.ceil(2 * gate.width + gate.cooldown + gate.probe_lease) + ROOM_TO_SPARE
  redis.call('HINCRBY', key, precise(find_bucket(gate, now).start), amounts.usd or '0')
  redis.call('EXPIRE', key, kept)
  local view = read_sliding(key, find_bucket(gate, now))
  drop(key, view.stale)
  if view.other['until'] then list(key, kept) end
  if now < tonumber(view.other['until'] or '0') then return false end
  if view.settled > tonumber(gate.threshold) then
    redis.call('HSET', key, 'until', precise(now + gate.cooldown))
    redis.call('HDEL', key, 'probe', 'probe_until')
    list(key, kept)
    return true
  end
  if view.other.probe == id then
    redis.call('HDEL', key, 'probe', 'probe_until')
    if tonumber(amounts.usd or '0') > 0 then
      redis.call('HDEL', key, 'until')
      redis.call('ZREM', OPEN, key)
    end
  end
  return false
end

local found = redis.call('GET', LEASE)
local record = found and cjson.decode(found) or from_grant()
local opened = {}
if record.state ~= 'settled' then
  for _, line in ipairs(record.lines) do settle(line, record.state) end
  redis.call('ZREM', LEASES, id)
  for i, gate in ipairs(gates) do
    if judge(KEYS[FIRST + #placed + i - 1], gate) then opened[#opened + 1] = i end
  end
  record.state, record.note = 'settled', nil
  remember(LEASE, record, tonumber(ARGV[5]))
end

local totals = {}
for i, line in ipairs(record.lines) do totals[i] = whole(total_now(line, now)) end
return { 'settled', precise(now), totals, opened }
