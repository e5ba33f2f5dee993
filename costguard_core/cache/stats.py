"""What happened in a cache: counts for reports, and a log that a broken store cannot flood."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock
from typing import TYPE_CHECKING

from costguard_core.cache.answer import ExactHit
from costguard_core.types import usd
from costguard_core.util.forks import renew_locks
from costguard_core.util.html_table import html_table

if TYPE_CHECKING:
    from costguard_core.cache.semantic.hit import SemanticStats

_log = logging.getLogger("costguard.cache")
_LOG_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts since the cache was made.

    Attributes:
        hits, misses: lookups that found an answer or did not.
        coalesced: requests answered by an identical one that was under way.
        stored: answers written.
        errors: failures of the store, each of which was a miss or an answer that was not kept.
        foreign: stored values that this release could not read.
        saved: nano-dollars that hits did not cost.
        declined: requests and answers that the policy kept out, by reason.
    """

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

    def _repr_html_(self) -> str:
        return stats_table("Cache", self)


def stats_table(title: str, stats: CacheStats | SemanticStats) -> str:
    """What a cache did since it was made, for a notebook."""
    shown = {name: f"{count:,}" for name in _SHOWN if (count := getattr(stats, name, None)) is not None}
    rows = [((name.replace("_", " ").capitalize(),), (figure,)) for name, figure in shown.items()]
    answered = stats.hits + stats.misses
    rows.insert(0, (("Hit rate",), (f"{stats.hits / answered:.0%}" if answered else "–",)))
    rows.append((("Saved",), (f"${stats.saved_usd:,.4f}",)))
    rows += [((f"Declined: {reason}",), (f"{count:,}",)) for reason, count in sorted(stats.declined.items())]
    return html_table(title, ("",), ("",), rows)


_SHOWN = ("hits", "misses", "coalesced", "stored", "evicted", "audits", "confirmed", "refuted", "errors", "foreign")


class StatsCounter:
    """Counts of one cache, safe for threads. ``name`` is what the log calls the cache."""

    def __init__(self, name: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name, self._monotonic = name, monotonic
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._hits = self._misses = self._coalesced = self._stored = 0
        self._errors = self._unreadable = self._saved = 0
        self._declined: Counter[str] = Counter()
        self._next_log = float("-inf")

    def looked_up(self, cached: ExactHit | None) -> None:
        with self._lock:
            if cached is None:
                self._misses += 1
            else:
                self._hits += 1
                self._saved += cached.cost or 0

    def coalesced(self, cached: ExactHit) -> None:
        """The miss that was counted before joining has become a hit."""
        with self._lock:
            self._misses -= 1
            self._coalesced += 1
            self._saved += cached.cost or 0

    def stored(self) -> None:
        with self._lock:
            self._stored += 1

    def declined(self, reason: str) -> None:
        with self._lock:
            self._declined[reason] += 1

    def failed(self, what: str, error: Exception) -> None:
        with self._lock:
            self._errors += 1
        self._warn(f"{what} failed; the answer is unaffected", error)

    def unreadable(self, error: Exception) -> None:
        with self._lock:
            self._unreadable += 1
        self._warn("ignored a stored value that is not an answer of this release", error)

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                coalesced=self._coalesced,
                stored=self._stored,
                errors=self._errors,
                foreign=self._unreadable,
                saved=self._saved,
                declined=dict(self._declined),
            )

    def _warn(self, text: str, error: Exception) -> None:
        now = self._monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_EVERY_SECONDS
            # The class only: messages of drivers may quote keys or URLs with passwords.
            _log.warning("cache %s: %s (%s)", self._name, text, type(error).__name__)
