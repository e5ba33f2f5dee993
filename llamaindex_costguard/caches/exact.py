"""The cache of guarded LLMs: what LlamaIndex itself does not have."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from costguard_core import CostGuard
from costguard_core.cache import (
    AnswerCache,
    CacheKey,
    CachePolicy,
    CacheStats,
    CacheStore,
    NotCanonical,
    Uncacheable,
    open_cache_store,
)
from costguard_core.cache.layers import CacheLayer, ExactLayer
from llamaindex_costguard.translate.content import RequestContent
from llamaindex_costguard.translate.keys import request_key

_log = logging.getLogger("costguard.cache")


class ExactCache:
    """Answers to identical requests, each paid for once: ``guard_llm(..., cache=ExactCache("sqlite:///costguard.db"))``.

    Looking up never raises (a failure is a miss), and neither does storing (a failure is logged and counted): a broken
    cache does not cost the user the answer. Every hit is a fresh copy.

    Args:
        url: ``memory://`` (bounded), ``sqlite:///path.db``, ``redis://host:6379/0``; or an open store.
        ttl: seconds an entry lives, give or take ``policy.ttl_jitter``; shorthand for ``policy.ttl``.
        policy: what may be cached and who shares it; by default tenants never share.
        namespace: separates caches in one store; ``clear()`` clears only this one.
    """

    def __init__(
        self,
        url: str | CacheStore = "memory://",
        *,
        ttl: float | None = None,
        policy: CachePolicy | None = None,
        namespace: str = "costguard",
        max_entries: int | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(url, str):
            url = open_cache_store(url, namespace=namespace, max_entries=max_entries, max_bytes=max_bytes, clock=clock)
        policy = CachePolicy.of(policy, ttl)
        self.engine = AnswerCache(url, policy, clock=clock)

    def __deepcopy__(self, memo: dict[int, Any]) -> ExactCache:
        return self  # a copied LLM keeps its cache

    def __repr__(self) -> str:
        return f"ExactCache({self.engine.store.url!r})"

    @property
    def policy(self) -> CachePolicy:
        return self.engine.policy

    def clear(self) -> None:
        """Delete the entries of this namespace, and nothing else in the store."""
        self.engine.clear()

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        await self.engine.aclear()

    def invalidate(self, **tags: str) -> int:
        """Delete entries that carry all the tags, e.g. ``invalidate(document="faq-7")``; returns how many.

        Tags: ``model``, ``endpoint``, ``template``, ``document``, ``user``, ``tenant``, as given to :func:`attribute`.
        """
        return self.engine.invalidate(**tags)

    async def ainvalidate(self, **tags: str) -> int:
        """:meth:`invalidate` for an event loop."""
        return await self.engine.ainvalidate(**tags)

    def stats(self) -> CacheStats:
        """Hits, misses, what was saved, what was declined and why."""
        return self.engine.stats()

    def bind(self, guard: CostGuard) -> None:
        """Nothing that this cache does costs anything."""

    def layers_for(self, request: RequestContent) -> list[CacheLayer]:
        """This cache for one request; nothing if the request has no key, which is counted."""
        try:
            key = request_key(self.policy, request)
        except NotCanonical as error:
            key = Uncacheable(str(error))
        except Exception as error:
            _log.warning("no cache key could be made (%s); the call goes uncached", type(error).__name__)
            key = Uncacheable("no key could be made")
        if isinstance(key, CacheKey):
            return [ExactLayer(self.engine, key)]
        self.engine.decline(key.reason)
        return []
