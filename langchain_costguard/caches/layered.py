"""Several caches as one, Costguard's and any other of LangChain's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from langchain_core.caches import BaseCache
from langchain_core.load import dumps
from langchain_core.outputs import Generation

from costguard_core.cache import Answer, NotCanonical
from costguard_core.cache.layered_cache import BaseLayeredCache, ForeignLayer, scoped_string
from costguard_core.cache.layers import CacheLayer
from costguard_core.util.options import check_kind
from langchain_costguard.caches.base import LayeredLookup
from langchain_costguard.translate.answers import answer_of, decode, result_usage
from langchain_costguard.translate.keys import ChatContent, TextContent

_log = logging.getLogger("costguard.cache")


class LayeredCache(BaseLayeredCache[BaseCache], LayeredLookup):
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    ``LayeredCache([ExactCache("memory://"), ExactCache("redis://cache")])``. Layers may be any LangChain caches.

    Raises:
        ConfigurationError: no layer.
    """

    def check_layer(self, layer: object) -> None:
        check_kind("layers", layer, BaseCache, 'caches, such as ExactCache("memory://")')

    def layers_for(self, content: ChatContent) -> list[CacheLayer]:
        return [layer for cache in self.layers for layer in layers_of(cache, content)]

    def layers_for_text(self, content: TextContent) -> list[CacheLayer]:
        found: list[CacheLayer] = []
        for cache in self.layers:
            if isinstance(cache, LayeredLookup):
                found += cache.layers_for_text(content)
            else:
                llm_string = scoped_string(content.llm_string, content.attribution.tenant)
                found.append(ForeignLayer(AskedCache(cache, content.prompt, llm_string)))
        return found


def layers_of(cache: BaseCache, content: ChatContent) -> Sequence[CacheLayer]:
    """The layers of any LangChain cache for a chat request. Never raises."""
    try:
        if isinstance(cache, LayeredLookup):
            return cache.layers_for(content)
        model, messages, stop, kwargs, attribution = content
        prompt = dumps([message.model_copy(update={"id": None}) for message in messages])
        asked: Any = model
        llm_string = asked._get_llm_string(stop=stop, **kwargs)
        return [ForeignLayer(AskedCache(cache, prompt, scoped_string(llm_string, attribution.tenant)))]
    except Exception as error:
        _log.warning("%s: no cache key could be made (%s)", type(cache).__name__, type(error).__name__)
        return ()


class AskedCache(NamedTuple):
    """A cache that is not ours, asked with LangChain's own strings."""

    cache: BaseCache
    prompt: str
    llm_string: str

    @property
    def name(self) -> str:
        return type(self.cache).__name__

    def read(self) -> Answer | None:
        return _answer(self.cache.lookup(self.prompt, self.llm_string))

    async def aread(self) -> Answer | None:
        return _answer(await self.cache.alookup(self.prompt, self.llm_string))

    # A foreign cache hands out the objects that it was given: without ids, which LangChain gives to each hit.

    def write(self, answer: Answer) -> None:
        self.cache.update(self.prompt, self.llm_string, decode(answer.payload, new_id=lambda: None))

    async def awrite(self, answer: Answer) -> None:
        await self.cache.aupdate(self.prompt, self.llm_string, decode(answer.payload, new_id=lambda: None))


def _answer(found: Sequence[Generation] | None) -> Answer | None:
    try:
        return replace(answer_of(found), usage=result_usage(found, None)) if found else None
    except NotCanonical:  # a message class that we cannot bring back equal
        return None
