"""A cache in Redis that several hosts share. While Redis is slow or gone it is asked ever more rarely.

A time-out is 50 ms; ``redis://host?socket_timeout=0.2&socket_connect_timeout=0.5`` sets others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from costguard_core.cache.exact.stores.base import DECLINED, DECLINED_SECONDS, StoreStats
from costguard_core.errors import CostGuardError, MissingExtraError
from costguard_core.util.urls import printable

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

_TIMEOUT_SECONDS = 0.05
# After a failure nothing is sent for this long, doubling with each failure in a row.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.1, 2.0
_BATCH = 500
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
    """Keys are ``{namespace}:cache:…``. ``url`` as redis-py takes it; its password is never printed."""

    shared = True

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "costguard",
        timeout: float = _TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = printable(url)
        self._url, self._prefix, self._timeout, self._monotonic = url, f"{namespace}:cache:", timeout, monotonic
        self._down_until, self._pause = float("-inf"), 0.0
        self._sync: Redis = self._client(_redis())
        # A client belongs to the loop that opened its sockets.
        self._async: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncRedis] = WeakKeyDictionary()

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self._try(lambda: self._sync.get(self._entry(key)))
        return found

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        def run() -> None:
            with self._sync.pipeline(transaction=False) as pipe:
                self._queue_put(pipe, key, value, tags, ttl)
                pipe.execute()

        self._try(run)

    def delete(self, key: str) -> None:
        self._try(lambda: self._sync.unlink(self._entry(key)))

    def invalidate(self, tags: Sequence[str]) -> int:
        def run() -> int:
            found: Any = self._sync.sinter([self._tag(tag) for tag in set(tags)])
            keys = [self._entry(_text(key)) for key in found]
            count = sum(int(self._sync.unlink(*batch)) for batch in _batches(keys))
            for tag, batch in self._stale(tags, found):
                self._sync.srem(tag, *batch)
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
        self._sync.close()

    async def aget(self, key: str) -> bytes | None:
        found: bytes | None = await self._atry(lambda db: db.get(self._entry(key)))
        return found

    async def aput(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        async def run(db: AsyncRedis) -> None:
            async with db.pipeline(transaction=False) as pipe:
                self._queue_put(pipe, key, value, tags, ttl)
                await pipe.execute()

        await self._atry(run)

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        async def run(db: AsyncRedis) -> int:
            found: Any = await db.sinter([self._tag(tag) for tag in set(tags)])
            keys = [self._entry(_text(key)) for key in found]
            count = sum([int(await db.unlink(*batch)) for batch in _batches(keys)])
            for tag, batch in self._stale(tags, found):
                await db.srem(tag, *batch)
            return count

        return int(await self._atry(run))

    async def aclear(self) -> None:
        async def run(db: AsyncRedis) -> None:
            keys = [key async for key in db.scan_iter(match=_literal(self._prefix) + "*", count=_BATCH)]
            for batch in _batches(keys):
                await db.unlink(*batch)

        await self._atry(run)

    async def alease(self, key: str, owner: str, ttl: float) -> str:
        async def run(db: AsyncRedis) -> str:
            return _text(await db.eval(_LEASE, 1, self._lease(key), owner, str(int(ttl * 1000))))

        return str(await self._atry(run))

    async def aclose(self) -> None:
        client = self._async.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        self.close()

    def _entry(self, key: str) -> str:
        return f"{self._prefix}entry:{key}"

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}tag:{tag}"

    def _lease(self, key: str) -> str:
        return f"{self._prefix}lease:{key}"

    def _stale(self, tags: Sequence[str], keys: Iterable[Any]) -> Iterable[tuple[str, list[Any]]]:
        return [(self._tag(tag), batch) for tag in set(tags) for batch in _batches(keys)]

    def _queue_put(self, pipe: Any, key: str, value: bytes, tags: Sequence[str], ttl: float | None) -> None:
        life = None if ttl is None else max(1, int(ttl * 1000))
        pipe.set(self._entry(key), value, px=life)
        for tag in tags:
            pipe.sadd(self._tag(tag), key)

    def _client(self, module: Any) -> Any:
        from redis.backoff import NoBackoff

        retry = module.retry_type(NoBackoff(), 0)
        return module.client_type.from_url(
            self._url, socket_timeout=self._timeout, socket_connect_timeout=self._timeout, retry=retry
        )

    def _aclient(self) -> AsyncRedis:
        loop = asyncio.get_running_loop()
        client = self._async.get(loop)
        if client is None:
            client = self._async[loop] = self._client(_aredis())
        return client

    def _try(self, run: Callable[[], Any]) -> Any:
        self._refuse_while_down()
        try:
            found = run()
        except Exception:
            self._failed()
            raise
        self._pause = 0.0
        return found

    async def _atry(self, run: Callable[[AsyncRedis], Any]) -> Any:
        self._refuse_while_down()
        try:
            found = await run(self._aclient())
        except Exception:
            self._failed()
            raise
        self._pause = 0.0
        return found

    def _refuse_while_down(self) -> None:
        if self._monotonic() < self._down_until:
            raise RedisDown(f"{self.url} failed a moment ago")

    def _failed(self) -> None:
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LAST_PAUSE_SECONDS)
        self._down_until = self._monotonic() + self._pause


class _Kinds:
    def __init__(self, client_type: Any, retry_type: Any) -> None:
        self.client_type, self.retry_type = client_type, retry_type


def _redis() -> _Kinds:
    try:
        from redis import Redis
        from redis.retry import Retry
    except ImportError as error:
        raise MissingExtraError("a cache in Redis", "redis") from error
    return _Kinds(Redis, Retry)


def _aredis() -> _Kinds:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry

    return _Kinds(Redis, Retry)


def _literal(prefix: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in prefix)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _batches(keys: Iterable[Any]) -> Iterable[list[Any]]:
    batch: list[Any] = []
    for key in keys:
        batch.append(key)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
