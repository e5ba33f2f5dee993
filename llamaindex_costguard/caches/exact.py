"""The cache of guarded LLMs: what LlamaIndex itself does not have."""

from __future__ import annotations

from costguard_core import CostGuard
from costguard_core.cache import CacheKey
from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.cache.layers import CacheLayer, ExactLayer
from llamaindex_costguard.caches.base import Cache, checked_cache
from llamaindex_costguard.translate.keys import RequestContent, request_key


class ExactCache(BaseExactCache):
    """Answers to identical requests, each paid for once: ``guard_llm(..., cache=ExactCache("sqlite:///costguard.db"))``.

    Looking up never raises (a failure is a miss), and neither does storing (a failure is logged and counted): a broken
    cache does not cost the user the answer. Every hit is a fresh copy. :class:`BaseExactCache` documents the options.
    """

    def bind(self, guard: CostGuard) -> None:
        """Nothing that this cache does costs anything."""

    def request_layers(self, request: RequestContent) -> list[CacheLayer]:
        """This cache for one request; nothing if the request has no key, which is counted."""
        try:
            key = request_key(self.policy, request)
        except Exception as error:
            return self._declined(error)
        return [ExactLayer(self.engine, key)] if isinstance(key, CacheKey) else self._declined(key)


def opened_cache(given: Cache | str | None) -> Cache | None:
    """A cache, or the one at a URL; raises ConfigurationError for anything else."""
    return ExactCache(given) if isinstance(given, str) else None if given is None else checked_cache(given)
