-- KEYS: manual trip, set of gates that are not closed. Closes them and forgets the rates that opened them.
for _, gate in ipairs(redis.call('SMEMBERS', KEYS[2])) do redis.call('DEL', gate) end
redis.call('DEL', KEYS[1], KEYS[2])
return { 'reset', precise(server_time()) }
