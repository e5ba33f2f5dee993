-- Shared by every script (put in front of it before it is sent). Times are unix seconds of this server; amounts are
-- integers: exact in Lua up to 2^53, always read from and written as strings.

local SUB_BUCKETS = 12
local ROOM_TO_SPARE = 3600       -- a counter outlives its window by this, so that it is not renewed at every call
local FORGOTTEN_AFTER = 3456000  -- 40 days: longer than any period, for what nobody came back for

local function server_time()
  local now = redis.call('TIME')
  return tonumber(now[1]) + tonumber(now[2]) / 1e6
end

local function whole(number) return string.format('%.0f', number) end
local function precise(number) return string.format('%.17g', number) end

-- Where `now` falls in a window: bucket start; the oldest and newest starts that count (sliding); end of the period and the
-- oldest period worth keeping (calendar). Nothing if the caller's calendar does not reach `now`.
local function find_bucket(window, now)
  if window.width > 0 then
    local step = window.width / SUB_BUCKETS
    local index = math.floor(now / step)
    -- buckets later than a window ahead were written before the clock was put back: they would freeze the counter
    return { start = index * step, oldest = (index - SUB_BUCKETS) * step, newest = now + window.width }
  end
  local edges = window.edges
  if #edges == 0 then return { start = 0 } end
  for i = #edges - 1, 1, -1 do
    if now >= edges[i] and now < edges[i + 1] then return { start = edges[i], over = edges[i + 1], previous = edges[1] } end
  end
end

-- A sliding bucket leaves the window when the last bucket beside it would be the thirteenth.
local function leaves(start, width) return start + width / SUB_BUCKETS * (SUB_BUCKETS + 1) end

local function held_field(width, bucket)
  if width > 0 then return 'h' end
  return 'h' .. bucket
end

-- A hash of bucket -> settled: total within the window, its buckets in order of time, the fields that are too old, the rest.
local function read_sliding(key, place)
  local view = { settled = 0, held = 0, buckets = {}, stale = {}, other = {} }
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local start = tonumber(flat[i])
    if not start then
      view.other[flat[i]] = flat[i + 1]
    elseif start < place.oldest then
      view.stale[#view.stale + 1] = flat[i]
    elseif start <= place.newest then
      local amount = tonumber(flat[i + 1])
      view.settled = view.settled + amount
      view.buckets[#view.buckets + 1] = { start = start, amount = amount }
    end
  end
  table.sort(view.buckets, function(a, b) return a.start < b.start end)
  view.held = tonumber(view.other.h or '0')
  return view
end

local function read_counter(key, window, place)
  if window.width > 0 then return read_sliding(key, place) end
  local bucket = precise(place.start)
  local found = redis.call('HMGET', key, bucket, 'h' .. bucket)
  local view = { settled = tonumber(found[1] or '0'), held = tonumber(found[2] or '0'), stale = {} }
  if place.previous and not found[1] and not found[2] then  -- a period begins: the time to forget old ones
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local start = tonumber(field) or tonumber(string.sub(field, 2))
      if start and start < place.previous then view.stale[#view.stale + 1] = field end
    end
  end
  return view
end

local function drop(key, fields)
  if #fields > 0 then redis.call('HDEL', key, unpack(fields)) end
end

-- The settled total of one line of a reservation, in its window as of now.
local function total_now(line, now)
  if line.width > 0 then
    return read_sliding(line.key, find_bucket(line, now)).settled
  end
  return tonumber(redis.call('HGET', line.key, line.bucket) or '0')
end

-- Adds to what is settled. A counter that had vanished must not stay for ever; only "total" counters (bucket 0) do.
local function charge(line, amount)
  redis.call('HINCRBY', line.key, line.bucket, amount)
  if line.bucket ~= '0' and redis.call('TTL', line.key) < 0 then redis.call('EXPIRE', line.key, FORGOTTEN_AFTER) end
end

local function release(line)
  if line.amount ~= '0' then redis.call('HINCRBY', line.key, held_field(line.width, line.bucket), '-' .. line.amount) end
end

-- The amount of a granted limit, which is written as the amount, its end or "-", and the rest; nothing if it is over.
local function granted_amount(text, now)
  local amount, over = string.match(text, '^(%S+) (%S+) ')
  if over == '-' or now < tonumber(over) then return amount end
end

local function remember(key, record, seconds)
  redis.call('SET', key, cjson.encode(record), 'EX', math.ceil(seconds))
end
