"""The cache of guarded LLMs: what LlamaIndex itself does not have."""

from __future__ import annotations

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
    Seat,
    Uncacheable,
    open_cache_store,
)
from costguard_core.cache.exact.singleflight import Owner
from llamaindex_costguard.caches.layered import ExactLayer
from llamaindex_costguard.llm.places import ALONE, ExactPlace, Place, Wanted
from llamaindex_costguard.translate.keys import request_key


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

    # For guarded LLMs

    def bind(self, guard: CostGuard) -> None:
        """Nothing that this cache does costs anything."""

    def layers_for(self, wanted: Wanted) -> list[ExactLayer]:
        """This cache for one request; nothing if the request has no key."""
        key = self.key_of(wanted)
        return [] if key is None else [ExactLayer(self.engine, key)]

    def board(self, wanted: Wanted) -> Place:
        """A place for the request: with an answer, or leading the identical requests, or alone."""
        key = self.key_of(wanted)
        if key is None:
            return ALONE
        hit = self.engine.lookup(key)
        seat = self.engine.begin(key, Owner.thread()) if hit is None else Seat(self.engine, key, hit=hit)
        return ExactPlace(self.engine, seat)

    async def aboard(self, wanted: Wanted) -> Place:
        """:meth:`board` for an event loop."""
        key = self.key_of(wanted)
        if key is None:
            return ALONE
        hit = await self.engine.alookup(key)
        seat = await self.engine.abegin(key, Owner.task()) if hit is None else Seat(self.engine, key, hit=hit)
        return ExactPlace(self.engine, seat)

    def key_of(self, wanted: Wanted) -> CacheKey | None:
        """The key of a request, ``None`` if it has none, which is counted."""
        try:
            key = request_key(self.policy, wanted)
        except NotCanonical as error:
            key = Uncacheable(str(error))
        if isinstance(key, CacheKey):
            return key
        self.engine.decline(key.reason)
        return None
