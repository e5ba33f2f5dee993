-- KEYS: manual trip, leases by expiry, this lease, index of counters, when this database began, granted limits, controls,
-- then the counter of each line, then gates.
-- ARGV: the request, the note, the prefix of lease keys, how long a charged lease is remembered, the time after which
-- the caller has given up.
local TRIP, LEASES, LEASE, SCOPES, EPOCH, GRANTED, CONTROLS, FIRST = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], 8
-- No script runs for more than a few milliseconds, because others wait for it (200 leases: 1.2 ms on Redis 6.2).
local SWEPT_AT_ONCE, SWEPT_BEFORE_REFUSING, UNLISTED_AT_ONCE = 10, 200, 20

local ask = cjson.decode(ARGV[1])
local lines, gates = ask.lines, ask.gates
local now = server_time()
local time = precise(now)

-- A server that was restarted without its data answers with another epoch.
local told = redis.call('MGET', EPOCH, CONTROLS)
local epoch, controls = told[1], ''
if told[2] then  -- their end, a blank, and what they say
  local over, text = string.match(told[2], '^(%S+) (.*)$')
  if over and now < (tonumber(over) or 0) then controls = text end
end
if not epoch then
  epoch = time
  redis.call('SET', EPOCH, epoch)
end

-- Limits that were granted to counters at run time stand in the place of those that the lines say.
local limits = {}
if #lines > 0 then
  local names = {}
  for i, line in ipairs(lines) do names[i] = line.key end
  for i, text in ipairs(redis.call('HMGET', GRANTED, unpack(names))) do
    local granted = text and granted_amount(text, now)
    if granted then
      lines[i].limit, lines[i].granted = granted, granted
      limits[#limits + 1] = { i - 1, granted }
    end
  end
end

local function counter_key(i) return KEYS[FIRST + i - 1] end
local function gate_key(i) return KEYS[FIRST + #lines + i - 1] end

-- Charges the whole hold of a lease that expired, and remembers it so that a late settle can correct it.
local function abandon(id)
  redis.call('ZREM', LEASES, id)
  local key = ARGV[3] .. id
  local found = redis.call('GET', key)
  if not found then return end
  local record, amounts = cjson.decode(found), {}
  for _, line in ipairs(record.lines) do
    release(line)
    charge(line, line.amount)
    if tonumber(amounts[line.unit] or '-1') < tonumber(line.amount) then amounts[line.unit] = line.amount end
  end
  amounts[''] = nil
  record.state = 'abandoned'
  remember(key, record, tonumber(ARGV[4]))
  return { id, record.note, cjson.encode(amounts) }
end

local swept = {}
local function sweep(most)
  local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', time, 'LIMIT', 0, most)
  for _, id in ipairs(expired) do swept[#swept + 1] = abandon(id) end
  return #expired > 0
end

local function denial(reason, index, settled, held, retry_after, text, limit)
  local patience = retry_after and precise(retry_after) or ''
  return { 'denial', time, epoch, reason, index, whole(settled), whole(held), patience, text, swept, limit or '', controls }
end

-- How long until `missing` of a full counter has left its window; nothing if time alone does not free it.
local function wait(line, place, view, missing)
  if line.width == 0 then return place.over and place.over - now end
  for _, bucket in ipairs(view.buckets) do
    missing = missing - bucket.amount
    if missing <= 0 then return leaves(bucket.start, line.width) - now end
  end
end

local places, views, probes = {}, {}, {}

local function refusal()
  local reason = redis.call('GET', TRIP)
  if reason then return denial('tripped', -1, 0, 0, nil, reason) end
  views, probes = {}, {}
  for i, gate in ipairs(gates) do
    local view = read_sliding(gate_key(i), find_bucket(gate, now))
    local over = view.other['until']
    if over then
      local blocked = tonumber(over)
      if now >= blocked then blocked = tonumber(view.other.probe_until or '0') end
      if now < blocked then return denial('open', i - 1, view.settled, 0, blocked - now, '') end
      probes[#probes + 1] = i
    end
  end
  for i, line in ipairs(lines) do
    local key = counter_key(i)
    views[key] = views[key] or read_counter(key, line, places[i])
    local view, limit, amount = views[key], tonumber(line.limit), tonumber(line.amount)
    local missing = view.settled + view.held + amount - limit
    if missing > 0 then
      local patience = amount <= limit and wait(line, places[i], view, missing) or nil
      return denial('budget', i - 1, view.settled, view.held, patience, '', line.granted)
    end
  end
end

-- Keeps a counter for as long as anything in it may matter, and lists it.
local function keep(key, line, place)
  local matters = line.width > 0 and line.width * 2 or place.over and place.over - now
  if not matters then return redis.call('ZADD', SCOPES, '+inf', line.key) end
  matters = math.ceil(math.max(matters, ask.lease))
  if redis.call('TTL', key) >= matters then return end
  redis.call('EXPIRE', key, matters + ROOM_TO_SPARE)
  local gone = redis.call('ZRANGEBYSCORE', SCOPES, '-inf', time, 'LIMIT', 0, UNLISTED_AT_ONCE)
  if #gone > 0 then redis.call('ZREM', SCOPES, unpack(gone)) end
  redis.call('ZADD', SCOPES, precise(now + matters + ROOM_TO_SPARE), line.key)
end

local function hold(line, key, place)
  local bucket = precise(place.start)
  if not views[key] then  -- the second limit on a counter: it counts the call once
    return { key = key, bucket = bucket, unit = '', amount = '0', width = line.width }
  end
  redis.call('HINCRBY', key, held_field(line.width, bucket), line.amount)
  drop(key, views[key].stale)
  keep(key, line, place)
  views[key] = nil
  return { key = key, bucket = bucket, unit = line.unit, amount = line.amount, width = line.width }
end

local function grant()
  local id = ask.id
  -- a reused id is a reservation of its own, or its settle would be taken for a repetition
  if redis.call('EXISTS', LEASE) == 1 then id = id .. '#' .. time end
  local record, buckets = { state = 'held', note = ARGV[2], lines = {} }, {}
  for i, line in ipairs(lines) do
    record.lines[i] = hold(line, counter_key(i), places[i])
    buckets[i] = record.lines[i].bucket
  end
  for _, i in ipairs(probes) do
    redis.call('HSET', gate_key(i), 'probe', id, 'probe_until', precise(now + gates[i].probe_lease))
  end
  redis.call('ZADD', LEASES, precise(now + ask.lease), id)
  redis.call('EXPIRE', LEASES, math.ceil(ask.lease) + FORGOTTEN_AFTER)
  remember(ARGV[3] .. id, record, ask.lease + FORGOTTEN_AFTER)
  return { 'grant', time, epoch, id, buckets, probes, swept, limits, controls }
end

-- A request that arrives after its caller gave up (the server hung) must not hold anything.
local deadline = tonumber(ARGV[5])
if deadline and now > deadline then return { 'late', time } end
for i, line in ipairs(lines) do
  places[i] = find_bucket(line, now)
  if not places[i] then return { 'skew', time } end
end

sweep(SWEPT_AT_ONCE)
local refused = refusal()
-- Dead reservations may be all that is in the way, so a refusal is worth looking at many of them.
if refused and sweep(SWEPT_BEFORE_REFUSING) then refused = refusal() end
return refused or grant()
