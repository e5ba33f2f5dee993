"""The exact cache for ``set_llm_cache``, ``ChatModel(cache=...)`` and :class:`GuardedChatModel`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage

from costguard_core import Attribution, CostGuard
from costguard_core.cache import (
    AnswerCache,
    CacheKey,
    CachePolicy,
    CacheStats,
    CacheStore,
    Uncacheable,
    open_cache_store,
)
from costguard_core.cache.layers import CacheLayer, ExactLayer
from langchain_costguard.caches.base import LayeredLookup
from langchain_costguard.caches.model_call import ModelCall
from langchain_costguard.translate.keys import RequestKeys


class ExactCache(LayeredLookup):
    """Answers to identical requests, each paid for once: ``set_llm_cache(ExactCache("sqlite:///costguard.db"))``.

    Args:
        url: ``memory://`` (bounded), ``sqlite:///path.db``, ``redis://host:6379/0``; or an open store.
        ttl: seconds an entry lives, give or take ``policy.ttl_jitter``; shorthand for ``policy.ttl``.
        policy: what may be cached and who shares it; by default tenants never share.
        namespace: separates caches in one store; ``clear()`` clears only this one.
        guard: whose price list says what a hit saved. ``install`` binds it.
        max_entries, max_bytes: bounds of a store in memory or SQLite.
        clock: unix seconds.
    """

    def __init__(
        self,
        url: str | CacheStore = "memory://",
        *,
        ttl: float | None = None,
        policy: CachePolicy | None = None,
        namespace: str = "costguard",
        guard: CostGuard | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(url, str):
            url = open_cache_store(url, namespace=namespace, max_entries=max_entries, max_bytes=max_bytes, clock=clock)
        policy = CachePolicy.of(policy, ttl)
        self.engine = AnswerCache(url, policy, clock=clock)
        self.keys = RequestKeys(policy)
        self.guard = guard

    def __repr__(self) -> str:
        return f"ExactCache({self.engine.store.url!r})"

    def layers_for(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
    ) -> list[CacheLayer]:
        return self._layers(self.keys.chat(model, messages, stop, kwargs, attribution))

    def layers_for_text(
        self, prompt: str, llm_string: str, call: ModelCall | None, attribution: Attribution, *, again: bool = False
    ) -> list[CacheLayer]:
        if call is None:
            key = self.keys.raw(prompt, llm_string, attribution)
        else:
            key = self.keys.raw(
                prompt,
                llm_string,
                attribution,
                model=call.model,
                stop=call.stop,
                kwargs=call.kwargs,
                complete=not call.completes,
            )
        return [] if again and isinstance(key, Uncacheable) else self._layers(key)

    def clear(self, **kwargs: Any) -> None:
        """Delete the entries of this namespace, and nothing else in the store."""
        self.engine.clear()

    async def aclear(self, **kwargs: Any) -> None:
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

    def _layers(self, key: CacheKey | Uncacheable) -> list[CacheLayer]:
        if isinstance(key, CacheKey):
            return [ExactLayer(self.engine, key)]
        self.engine.decline(key.reason)
        return []
