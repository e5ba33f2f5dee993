-- KEYS: when this database began; it says which shard of a cluster is asked. The answer: the server's maxmemory-policy, or
-- nothing where the server does not tell.
local ok = redis.pcall('INFO', 'memory')
local policy = type(ok) == 'string' and string.match(ok, 'maxmemory_policy:([%w-]+)') or ''
return { 'server', precise(server_time()), policy }
