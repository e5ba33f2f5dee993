"""A cache in Redis that several hosts share. While Redis is slow or gone it is asked ever more rarely.

A time-out is 50 ms; ``redis://host?socket_timeout=0.2&socket_connect_timeout=0.5`` sets others.

Each tag is a sorted set of the keys that carry it, by the time at which they expire. A set expires with the last of its
entries, and loses what has expired or was evicted whenever an entry is added.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from costguard_core.cache.exact.stores.base import DECLINED, DECLINED_SECONDS, StoreStats, bind, unbind
from costguard_core.errors import CostGuardError
from costguard_core.util.redis_address import RedisUrl, Target, moved_to, wrong_server
from costguard_core.util.redis_clients import QuickReads, open_async_client, open_client, require_redis
from costguard_core.util.urls import printable

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

T = TypeVar("T")

_TIMEOUT_SECONDS = 0.05
# After a failure nothing is sent for this long, doubling with each failure in a row.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.1, 2.0
_BATCH = 500
# KEYS: the entry, then its tags. ARGV: the value, its life in milliseconds (or nothing), the key as tags list it, what
# is in front of the keys of entries.
_PUT = """
local life, name = tonumber(ARGV[2]), ARGV[3]
if life then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) else redis.call('SET', KEYS[1], ARGV[1]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #KEYS do
  local tag = KEYS[i]
  local left = redis.call('PTTL', tag)
  redis.call('ZADD', tag, life and now + life or '+inf', name)
  local expired = redis.call('ZRANGEBYSCORE', tag, '-inf', now, 'LIMIT', 0, 100)
  if #expired > 0 then redis.call('ZREM', tag, unpack(expired)) end
  for _, other in ipairs(redis.call('ZRANDMEMBER', tag, 2)) do
    if other ~= name and redis.call('EXISTS', ARGV[4] .. other) == 0 then redis.call('ZREM', tag, other) end
  end
  if not life then
    redis.call('PERSIST', tag)
  elseif left == -2 or left >= 0 and left < life then
    redis.call('PEXPIRE', tag, ARGV[2])
  end
end
"""
_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_UNLEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class RedisDown(CostGuardError):
    """The last command failed a moment ago, so this one was not sent."""


class RedisStore:
    """Keys are ``{namespace}:cache:…``.

    Args:
        url: as of :class:`~costguard_core.util.redis_address.RedisUrl`; its password is never printed. On a cluster all
            keys of a namespace share one hash tag, and so one shard.
        namespace: in front of all keys.
        timeout: seconds for each reply and for a connection, where the URL does not say.
        monotonic: the local clock, in seconds.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "costguard",
        timeout: float = _TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        require_redis("a cache in Redis")
        self.url = printable(url)
        self._parts = RedisUrl.read(url)
        self._target = Target(self._parts)
        self._timeout = self._parts.socket_timeout or timeout
        self._connect_timeout = self._parts.socket_connect_timeout or timeout
        self._namespace, self._monotonic = namespace, monotonic
        self._prefix = f"{{{namespace}}}:cache:" if self._target.follows else f"{namespace}:cache:"
        self._down_until, self._pause = float("-inf"), 0.0
        self._sync: Redis = open_client(self._parts, self._target, self._timeout, connect_timeout=self._connect_timeout)
        self._reads = QuickReads(self._sync)
        self._put = self._sync.register_script(_PUT)
        # A client belongs to the loop that opened its sockets.
        self._async: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncRedis] = WeakKeyDictionary()

    def get(self, key: str) -> bytes | None:
        stored: Any = self._try(lambda: self._reads.get(self._entry(key)))  # bytes, as no client here decodes
        return self._unbound(key, stored)

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        self._try(lambda: self._put(**self._put_call(key, value, tags, ttl)))

    def delete(self, key: str) -> None:
        self._try(lambda: self._sync.unlink(self._entry(key)))

    def invalidate(self, tags: Sequence[str]) -> int:
        names = sorted(set(tags))

        def run() -> int:
            found: list[Any] = [
                *self._sync.zinter([self._tag(tag) for tag in names]),
                *self._sync.sinter([self._old_tag(tag) for tag in names]),
            ]
            count = sum(int(self._sync.unlink(*batch)) for batch in self._entries(found))
            for batch in _batches(found):
                for tag in names:
                    self._sync.zrem(self._tag(tag), *batch)
                    self._sync.srem(self._old_tag(tag), *batch)
            return count

        return int(self._try(run))

    def clear(self) -> None:
        def run() -> None:
            for batch in _batches(self._sync.scan_iter(match=_literal(self._prefix) + "*", count=_BATCH)):
                self._sync.unlink(*batch)

        self._try(run)

    def stats(self) -> StoreStats:
        return StoreStats(None, None)

    def lease(self, key: str, owner: str, ttl: float) -> str:
        life = str(int(ttl * 1000))
        return _text(self._try(lambda: self._sync.eval(_LEASE, 1, self._lease(key), owner, life)))

    def unlease(self, key: str, owner: str, *, declined: bool = False) -> None:
        successor = DECLINED if declined else ""
        life = str(int(DECLINED_SECONDS * 1000))
        self._try(lambda: self._sync.eval(_UNLEASE, 1, self._lease(key), owner, successor, life))

    def close(self) -> None:
        self._reads.close()
        self._sync.close()

    async def aget(self, key: str) -> bytes | None:
        stored: Any = await self._atry(lambda db: db.get(self._entry(key)))
        return self._unbound(key, stored)

    async def aput(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        await self._atry(lambda db: db.register_script(_PUT)(**self._put_call(key, value, tags, ttl)))

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        names = sorted(set(tags))

        async def run(db: AsyncRedis) -> int:
            found: list[Any] = [
                *await db.zinter([self._tag(tag) for tag in names]),
                *await db.sinter([self._old_tag(tag) for tag in names]),
            ]
            count = sum([int(await db.unlink(*batch)) for batch in self._entries(found)])
            for batch in _batches(found):
                for tag in names:
                    await db.zrem(self._tag(tag), *batch)
                    await db.srem(self._old_tag(tag), *batch)
            return count

        return await self._atry(run)

    async def aclear(self) -> None:
        async def run(db: AsyncRedis) -> None:
            keys = [key async for key in db.scan_iter(match=_literal(self._prefix) + "*", count=_BATCH)]
            for batch in _batches(keys):
                await db.unlink(*batch)

        await self._atry(run)

    async def alease(self, key: str, owner: str, ttl: float) -> str:
        async def run(db: AsyncRedis) -> str:
            return _text(await db.eval(_LEASE, 1, self._lease(key), owner, str(int(ttl * 1000))))

        return await self._atry(run)

    async def aclose(self) -> None:
        client = self._async.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        self.close()

    def _entry(self, key: str) -> str:
        return f"{self._prefix}entry:{key}"

    def _entries(self, keys: Iterable[object]) -> Iterable[list[str]]:
        return _batches(self._entry(_text(key)) for key in keys)

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}tagged:{tag}"

    def _old_tag(self, tag: str) -> str:
        """Older versions kept plain sets, which never expired: read and emptied, not written."""
        return f"{self._prefix}tag:{tag}"

    def _lease(self, key: str) -> str:
        return f"{self._prefix}lease:{key}"

    def _put_call(self, key: str, value: bytes, tags: Sequence[str], ttl: float | None) -> dict[str, Any]:
        life = "" if ttl is None else max(1, int(ttl * 1000))
        return {
            "keys": [self._entry(key), *(self._tag(tag) for tag in dict.fromkeys(tags))],
            "args": [bind(self._namespace, key, value), life, key, self._entry("")],
        }

    def _unbound(self, key: str, stored: bytes | None) -> bytes | None:
        return None if stored is None else unbind(self._namespace, key, stored)

    def _aclient(self) -> AsyncRedis:
        loop = asyncio.get_running_loop()
        client = self._async.get(loop)
        if client is None:
            client = self._async[loop] = open_async_client(
                self._parts, self._target, self._timeout, connect_timeout=self._connect_timeout
            )
        return client

    def _try(self, run: Callable[[], T]) -> T:
        self._refuse_while_down()
        generation = self._target.generation
        try:
            try:
                found = run()
            except Exception as error:
                if wrong_server(error) is None:
                    raise
                self._target.renew(generation, moved_to(error))
                found = run()
        except Exception:
            self._failed(generation)
            raise
        self._pause = 0.0
        return found

    async def _atry(self, run: Callable[[AsyncRedis], Awaitable[T]]) -> T:
        self._refuse_while_down()
        generation = self._target.generation
        try:
            try:
                found = await run(self._aclient())
            except Exception as error:
                if wrong_server(error) is None:
                    raise
                self._target.renew(generation, moved_to(error))
                found = await run(self._aclient())
        except Exception:
            self._failed(generation)
            raise
        self._pause = 0.0
        return found

    def _refuse_while_down(self) -> None:
        if self._monotonic() < self._down_until:
            raise RedisDown(f"{self.url} failed a moment ago")

    def _failed(self, generation: int) -> None:
        """Leave the server alone for a moment, and connect anew after that."""
        if generation == self._target.generation:  # of callers who find out together, one counts
            self._target.server_is_away()
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LAST_PAUSE_SECONDS)
        self._down_until = self._monotonic() + self._pause


def _literal(prefix: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in prefix)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _batches(keys: Iterable[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    for key in keys:
        batch.append(key)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
