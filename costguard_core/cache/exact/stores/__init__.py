"""Where exact answers are kept: ``memory://``, ``sqlite:///path.db``, ``redis://host``, ``memcached://host,host2``."""

from __future__ import annotations

import time
from collections.abc import Callable

from costguard_core.cache.exact.stores.base import CacheStore, StoreStats
from costguard_core.cache.exact.stores.memory import MemoryStore
from costguard_core.errors import ConfigurationError
from costguard_core.util.options import nearest
from costguard_core.util.urls import SqliteUrl

__all__ = ["CacheStore", "MemoryStore", "StoreStats", "open_cache_store"]


def open_cache_store(
    url: str,
    *,
    namespace: str = "costguard",
    max_entries: int | None = None,
    max_bytes: int | None = None,
    clock: Callable[[], float] = time.time,
) -> CacheStore:
    """The store that a URL names. Nothing is opened or connected before the first use.

    ``max_entries`` bounds memory (default 10,000) and SQLite (default 100,000); ``max_bytes`` bounds memory (default
    256 MB). Redis (``maxmemory`` with an eviction policy) and memcached (``-m``) bound themselves.

    Raises:
        ConfigurationError: a URL of another kind.
        MissingExtraError: ``redis://`` without the ``redis`` extra, ``memcached://`` without ``memcached``.
    """
    scheme, separator, rest = url.partition("://")
    entries = {} if max_entries is None else {"max_entries": max_entries}
    if scheme == "memory" and separator:
        return MemoryStore(clock=clock, **entries, **({} if max_bytes is None else {"max_bytes": max_bytes}))
    if scheme == "sqlite" and (place := SqliteUrl.read(rest)):
        from costguard_core.cache.exact.stores.sqlite import SQLiteStore

        return SQLiteStore(place.path, namespace=namespace, timeout=place.timeout, clock=clock, **entries)
    if scheme.partition("+")[0] in ("redis", "rediss", "unix"):
        from costguard_core.cache.exact.stores.redis import RedisStore

        return RedisStore(url, namespace=namespace)
    if scheme == "memcached" and separator:
        from costguard_core.cache.exact.stores.memcached import MemcachedStore

        return MemcachedStore(url, namespace=namespace, clock=clock)
    raise ConfigurationError(
        f"a cache of kind {scheme or url!r} is not known; use memory://, sqlite:///path.db, redis://host:6379/0 or "
        f"memcached://host:11211.{nearest(scheme, ('memory', 'sqlite', 'redis', 'memcached'))}"
    )
