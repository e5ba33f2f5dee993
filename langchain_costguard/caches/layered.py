"""Several caches as one, Costguard's and any other of LangChain's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

from langchain_core.caches import BaseCache
from langchain_core.load import dumps
from langchain_core.outputs import Generation

from costguard_core import ConfigurationError, CostGuard, Outcome
from costguard_core.cache import Answer, CachedAnswer, NotCanonical
from costguard_core.cache.layers import CacheLayer
from langchain_costguard.caches.base import LayeredLookup
from langchain_costguard.translate.answers import answer_of, decode
from langchain_costguard.translate.content import ChatContent, TextContent
from langchain_costguard.translate.identity import spells_secret
from langchain_costguard.translate.usage import result_usage

_log = logging.getLogger("costguard.cache")


class LayeredCache(LayeredLookup):
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    ``LayeredCache([ExactCache("memory://"), ExactCache("redis://cache")])``. Layers may be any LangChain caches.

    Raises:
        ConfigurationError: no layer.
    """

    def __init__(self, layers: Sequence[BaseCache]) -> None:
        if not layers:
            raise ConfigurationError("a LayeredCache needs at least one layer")
        self.layers = tuple(layers)

    def __repr__(self) -> str:
        return f"LayeredCache({list(self.layers)!r})"

    def bind(self, guard: CostGuard | None) -> None:
        """Bind every layer that can be bound."""
        self.guard = guard
        for cache in self.layers:
            if callable(bind := getattr(cache, "bind", None)):
                bind(guard)

    def layers_for(self, content: ChatContent) -> list[CacheLayer]:
        return [layer for cache in self.layers for layer in layers_of(cache, content)]

    def layers_for_text(self, content: TextContent) -> list[CacheLayer]:
        found: list[CacheLayer] = []
        for cache in self.layers:
            if isinstance(cache, LayeredLookup):
                found += cache.layers_for_text(content)
            else:
                llm_string = scoped_string(content.llm_string, content.attribution.tenant)
                found.append(ForeignLayer(cache, content.prompt, llm_string))
        return found

    def clear(self, **kwargs: Any) -> None:
        for cache in self.layers:
            cache.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        for cache in self.layers:
            await cache.aclear(**kwargs)


def layers_of(cache: BaseCache, content: ChatContent) -> Sequence[CacheLayer]:
    """The layers of any LangChain cache for a chat request. Never raises."""
    try:
        if isinstance(cache, LayeredLookup):
            return cache.layers_for(content)
        model, messages, stop, kwargs, attribution = content
        prompt = dumps([message.model_copy(update={"id": None}) for message in messages])
        asked: Any = model
        llm_string = asked._get_llm_string(stop=stop, **kwargs)
        return [ForeignLayer(cache, prompt, scoped_string(llm_string, attribution.tenant))]
    except Exception as error:
        _log.warning("%s: no cache key could be made (%s)", type(cache).__name__, type(error).__name__)
        return ()


def scoped_string(llm_string: str, tenant: str | None) -> str:
    """LangChain's string for a cache that is not ours: it knows no tenants, and writes the string down as it is.

    Unchanged where nobody names a tenant and no header or argument in it authenticates; else a digest stands for it.
    """
    safe = f"sha256:{sha256(llm_string.encode()).hexdigest()}" if spells_secret(llm_string) else llm_string
    return safe if tenant is None else f"{safe}---[('tenant', {tenant!r})]"


class ForeignHit(NamedTuple):
    """A :class:`CachedAnswer` from a cache that is not ours."""

    answer: Answer

    @property
    def payload(self) -> Any:
        return self.answer.payload

    @property
    def cost(self) -> int | None:
        return None

    @property
    def outcome(self) -> Outcome:
        return Outcome.EXACT

    @property
    def saved(self) -> int:
        return 0

    @property
    def saved_usd(self) -> Any:
        return 0

    @property
    def marks(self) -> Mapping[str, Any]:
        return {}


class ForeignLayer:
    """Any other LangChain cache, by LangChain's own strings. A failure is a miss, or an answer that is not kept."""

    approximate = False

    def __init__(self, cache: BaseCache, prompt: str, llm_string: str) -> None:
        self.cache, self._prompt, self._llm_string = cache, prompt, llm_string

    def find(self) -> CachedAnswer | None:
        try:
            return _read(self.cache.lookup(self._prompt, self._llm_string))
        except Exception as error:
            self._failed("lookup", error)
            return None

    async def afind(self) -> CachedAnswer | None:
        try:
            return _read(await self.cache.alookup(self._prompt, self._llm_string))
        except Exception as error:
            self._failed("lookup", error)
            return None

    def store(self, answer: Answer) -> None:
        try:
            self.cache.update(self._prompt, self._llm_string, _generations(answer))
        except Exception as error:
            self._failed("update", error)

    async def astore(self, answer: Answer) -> None:
        try:
            await self.cache.aupdate(self._prompt, self._llm_string, _generations(answer))
        except Exception as error:
            self._failed("update", error)

    def decline(self, reason: str) -> None:
        """Nothing to count."""

    def _failed(self, what: str, error: Exception) -> None:
        _log.warning(
            "%s: %s failed; the answer is unaffected (%s)", type(self.cache).__name__, what, type(error).__name__
        )


def _read(found: Sequence[Generation] | None) -> ForeignHit | None:
    if not found:
        return None
    try:
        return ForeignHit(replace(answer_of(found), usage=result_usage(found, None)))
    except NotCanonical:  # a message class that we cannot bring back equal
        return None


def _generations(answer: Answer) -> list[Generation]:
    # A foreign cache hands out the objects that it was given: without ids, which LangChain gives to each hit.
    return decode(answer.payload, new_id=lambda: None)
