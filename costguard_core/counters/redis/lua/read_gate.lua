-- KEYS: the gate. ARGV: its width.
local now = server_time()
local view = read_sliding(KEYS[1], find_bucket({ width = tonumber(ARGV[1]) }, now))
local over = view.other['until'] or ''
local state = 'closed'
if over ~= '' then state = now < tonumber(over) and 'open' or 'half-open' end
return { 'gate', precise(now), state, over, whole(view.settled) }
