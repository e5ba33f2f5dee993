"""What happened in a cache: counts for reports, and a log that a broken store cannot flood."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock

from costguard_core.cache.hit import Hit
from costguard_core.types import usd

_log = logging.getLogger("costguard.cache")
_LOG_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts since the cache was made: ``declined`` by reason, ``errors`` of the store, ``foreign``: unreadable."""

    hits: int
    misses: int
    coalesced: int
    stored: int
    errors: int
    foreign: int
    saved: int
    declined: dict[str, int]

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)


class Tally:
    """Counts of one cache, safe for threads. ``name`` is what the log calls the cache."""

    def __init__(self, name: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name, self._monotonic = name, monotonic
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._declined: Counter[str] = Counter()
        self._next_log = float("-inf")

    def looked_up(self, hit: Hit | None) -> None:
        with self._lock:
            self._counts["misses" if hit is None else "hits"] += 1
            self._counts["saved"] += 0 if hit is None else hit.saved

    def coalesced(self, hit: Hit) -> None:
        """The miss that was counted before boarding has become a hit."""
        with self._lock:
            self._counts["misses"] -= 1
            self._counts["coalesced"] += 1
            self._counts["saved"] += hit.saved

    def stored(self) -> None:
        self._count("stored")

    def declined(self, reason: str) -> None:
        with self._lock:
            self._declined[reason] += 1

    def failed(self, what: str, error: Exception) -> None:
        self._count("errors")
        self._warn(f"{what} failed; the answer is unaffected", error)

    def foreign(self, error: Exception) -> None:
        self._count("foreign")
        self._warn("ignored a stored value that is not an answer of this release", error)

    def stats(self) -> CacheStats:
        with self._lock:
            counts = {name: self._counts[name] for name in CacheStats.__slots__ if name != "declined"}
            return CacheStats(**counts, declined=dict(self._declined))

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _warn(self, text: str, error: Exception) -> None:
        now = self._monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_EVERY_SECONDS
            # The class only: messages of drivers may quote keys or URLs with passwords.
            _log.warning("cache %s: %s (%s)", self._name, text, type(error).__name__)
