"""A bounded cache in this process: least recently used out first, by entries and by bytes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from costguard_core.cache.exact.stores.base import LocalStore, StoreStats
from costguard_core.util.forks import renew_locks


class _Entry(NamedTuple):
    value: bytes
    tags: frozenset[str]
    expires: float | None


class MemoryStore(LocalStore):
    """Bounded LRU. ``max_bytes`` counts the stored answers only."""

    shared = False

    def __init__(
        self, *, max_entries: int = 10_000, max_bytes: int = 256_000_000, clock: Callable[[], float] = time.time
    ) -> None:
        self.url = "memory://"
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._clock = clock
        self._lock = Lock()
        renew_locks(self, "_lock")
        # No LRUMap: that is bounded by one measure, not by entries and bytes, and here each entry has its own expiry.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.expires is not None and entry.expires <= self._clock():
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return entry.value

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        expires = None if ttl is None else self._clock() + ttl
        with self._lock:
            if key in self._entries:
                self._drop(key)
            self._entries[key] = _Entry(value, frozenset(tags), expires)
            self._bytes += len(value)
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    async def aput(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        self.put(key, value, tags=tags, ttl=ttl)

    def delete(self, key: str) -> None:
        with self._lock:
            if key in self._entries:
                self._drop(key)

    def invalidate(self, tags: Sequence[str]) -> int:
        wanted = frozenset(tags)
        with self._lock:
            found = [key for key, entry in self._entries.items() if wanted <= entry.tags]
            for key in found:
                self._drop(key)
        return len(found)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def stats(self) -> StoreStats:
        with self._lock:
            return StoreStats(len(self._entries), self._bytes)

    def lease(self, key: str, owner: str, ttl: float) -> str:
        return owner  # nobody else can see this store

    def unlease(self, key: str, owner: str, *, declined: bool = False) -> None:
        pass

    def close(self) -> None:
        pass

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._entries.pop(key).value)
