-- KEYS: counters. ARGV: their windows.
local now = server_time()
local readings = {}
for i, window in ipairs(cjson.decode(ARGV[1])) do
  local place = find_bucket(window, now)
  if not place then return { 'skew', precise(now) } end
  local view = read_counter(KEYS[i], window, place)
  local frees = place.over
  for _, bucket in ipairs(view.buckets or {}) do
    if bucket.amount > 0 then frees = frees or leaves(bucket.start, window.width) end
  end
  readings[i] = { whole(view.settled), whole(view.held), frees and precise(frees) or '' }
end
return { 'readings', precise(now), readings }
