"""The bounded map that every part of Costguard keeps recent values in: cachetools' LRU behind a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from copy import deepcopy
from typing import Generic, TypeVar, overload

from cachetools import Cache, LRUCache, TTLCache

from costguard_core.util.forks import after_fork

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class LRUMap(Generic[K, V]):
    """At most ``max_entries`` values by key; when there are more, the one used least recently goes.

    Reading a value counts as using it. Threads may share a map; a forked child goes on with a copy of its own.

    Args:
        max_entries: how many values are kept.
        ttl: seconds after which a value is gone, counted from when it was put; ``None``: as long as there is room.
        clock: seconds, for ``ttl``.
    """

    def __init__(
        self, max_entries: int, *, ttl: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: Cache[K, V] = (
            LRUCache(max_entries) if ttl is None else TTLCache(max_entries, ttl=ttl, timer=clock)
        )
        self._unlock()
        after_fork(self, "_unlock")

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The value of ``key``, or ``default``."""
        with self._lock:
            try:
                return self._entries[key]
            except KeyError:
                return default

    def get_or(self, key: K, make: Callable[[], V]) -> V:
        """The value of ``key``; if there is none, the one that ``make`` returns, which is kept.

        ``make`` runs outside of the lock: threads that ask for a missing key together may each call it, and the last
        value stays.
        """
        with self._lock:
            try:
                return self._entries[key]
            except KeyError:
                pass
        value = make()
        self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep ``value``, in place of an earlier one."""
        with self._lock:
            self._entries[key] = value

    def setdefault(self, key: K, value: V) -> V:
        """The value of ``key``; if there is none, ``value`` is kept and returned. One atomic step."""
        with self._lock:
            return self._entries.setdefault(key, value)

    @overload
    def pop(self, key: K) -> V | None: ...
    @overload
    def pop(self, key: K, default: D) -> V | D: ...
    def pop(self, key: K, default: D | None = None) -> V | D | None:
        """Take out the value of ``key``, or return ``default``."""
        with self._lock:
            return self._entries.pop(key, default)

    def items(self) -> list[tuple[K, V]]:
        """A copy of what is kept. Reading it counts as no use of anything."""
        with self._lock:
            # Not ``items()`` of cachetools, which counts as a use of each.
            return [(key, Cache.__getitem__(self._entries, key)) for key in self._entries]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __contains__(self, key: K) -> bool:
        with self._lock:
            return key in self._entries

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __getstate__(self) -> Cache[K, V]:
        # What holds a map may be copied deeply, as LangChain's runnables are: copies have a lock of their own.
        with self._lock:
            return deepcopy(self._entries)

    def __setstate__(self, entries: Cache[K, V]) -> None:
        self._entries = entries
        self._unlock()
        after_fork(self, "_unlock")

    def _unlock(self) -> None:
        """A new lock: in a forked child the old one may be held by a thread that does not exist there."""
        self._lock = threading.Lock()
