"""The exact cache for ``set_llm_cache``, ``ChatModel(cache=...)`` and :class:`GuardedChatModel`."""

from __future__ import annotations

from typing import TypeVar

from langchain_core.caches import BaseCache

from costguard_core.cache import CacheKey
from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.cache.layers import CacheLayer, ExactLayer
from costguard_core.util.options import check_kind
from langchain_costguard.caches.base import ClearsAsLangChain, LayeredLookup
from langchain_costguard.translate.keys import ChatContent, TextContent

C = TypeVar("C")


class ExactCache(ClearsAsLangChain, BaseExactCache, LayeredLookup):
    """Answers to identical requests, each paid for once: ``set_llm_cache(ExactCache("sqlite:///costguard.db"))``.

    Looking up never raises (a failure is a miss), and neither does storing (a failure is logged and counted): a broken
    cache does not cost the user the answer. Every hit is a fresh copy. :class:`BaseExactCache` documents the options.
    ``install`` binds the guard.
    """

    def layers_for(self, content: ChatContent) -> list[CacheLayer]:
        try:
            key = self.keys.chat(content)
        except Exception as error:
            return self._declined(error)
        return [ExactLayer(self.engine, key)] if isinstance(key, CacheKey) else self._declined(key)

    def layers_for_text(self, content: TextContent) -> list[CacheLayer]:
        key = self.keys.raw(content)
        if isinstance(key, CacheKey):
            return [ExactLayer(self.engine, key)]
        return [] if content.again else self._declined(key)


def opened_cache(given: C | str, *others: type) -> C | ExactCache:
    """A cache, ``None`` or one of the ``others``; or the cache at a URL. Raises ConfigurationError for all else."""
    if isinstance(given, str):
        return ExactCache(given)
    check_kind("cache", given, (BaseCache, type(None), *others), 'a cache, such as ExactCache("memory://"), or its URL')
    return given
