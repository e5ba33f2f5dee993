"""What every Costguard cache does behind LangChain's ``BaseCache``: its two methods, once, over the core's layers."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.outputs import Generation

from costguard_core import Attribution, CostGuard
from costguard_core.cache import Answer, CachedAnswer, CachePolicy, NotCanonical
from costguard_core.cache import layers as core
from costguard_core.cache.layers import CacheLayer
from costguard_core.lifecycle import calls
from costguard_core.pricing import public_prices
from costguard_core.usage.parameters import UNKNOWN, model_name
from langchain_costguard.caches.model_call import ModelCall, watch_model_calls, who_asks
from langchain_costguard.translate.answers import answer_of, answering_model, decode_hit, result_usage, saved_before
from langchain_costguard.translate.keys import ChatContent, RequestKeys, TextContent

_log = logging.getLogger("costguard.cache")


class ClearsAsLangChain:
    """``clear`` as LangChain calls it, with options, of which these caches have none; before the core's class."""

    def clear(self, **kwargs: object) -> None:
        """Delete the entries of this cache, and nothing else in its store."""
        super().clear()  # type: ignore[misc]

    async def aclear(self, **kwargs: object) -> None:
        """:meth:`clear` for an event loop."""
        await super().aclear()  # type: ignore[misc]


class LayeredLookup(BaseCache):
    """A LangChain cache that answers from layers of the core.

    Subclasses say which layers may answer a request: by its objects, as guarded models ask, and by LangChain's two
    strings, as LangChain asks. Looking up never raises (a failure is a miss), and neither does storing (a failure is
    logged and counted): a broken cache does not cost the user the answer. Every hit is a fresh copy.
    """

    guard: CostGuard | None = None
    policy: CachePolicy

    def __new__(cls, *_: Any, **__: Any) -> Self:
        watch_model_calls()
        return super().__new__(cls)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copied model keeps its cache

    def bind(self, guard: CostGuard | None) -> None:
        """Use this guard's prices; ``None`` for the public list."""
        self.guard = guard

    @cached_property
    def keys(self) -> RequestKeys:
        """Makes the keys of requests, under the policy of this cache."""
        return RequestKeys(self.policy)

    @abstractmethod
    def layers_for(self, content: ChatContent) -> list[CacheLayer]:
        """The layers for a chat request; none if it is not cacheable, which is counted. Never raises."""

    @abstractmethod
    def layers_for_text(self, content: TextContent) -> list[CacheLayer]:
        """The layers for what LangChain hands to a cache."""

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """A list, always: LangChain takes any other sequence for a miss."""
        call, layers = self._asked(prompt, llm_string)
        return self._returned(prompt, core.find(layers) if call is None else call.find(layers), call)

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`lookup` for an event loop."""
        call, layers = self._asked(prompt, llm_string)
        return self._returned(prompt, await (core.afind(layers) if call is None else call.afind(layers)), call)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        call, layers = self._asked(prompt, llm_string, again=True)
        if layers and (answer := self._answer(layers, call, return_val)) is not None:
            core.store(layers if call is None else call.leading(layers), answer)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        call, layers = self._asked(prompt, llm_string, again=True)
        # In a thread: the first price of a process loads the price list.
        if layers and (answer := await asyncio.to_thread(self._answer, layers, call, return_val)) is not None:
            await core.astore(layers if call is None else call.leading(layers), answer)

    def _asked(self, prompt: str, llm_string: str, *, again: bool = False) -> tuple[ModelCall | None, list[CacheLayer]]:
        call, attribution = who_asks()
        if attribution is None:
            return call, []
        try:
            if call is None:
                return call, self.layers_for_text(TextContent(prompt, llm_string, attribution, again=again))
            return call, self.layers_for_text(call.asked(prompt, llm_string, attribution, again=again))
        except Exception as error:
            _log.warning("no cache key could be made (%s); the call goes uncached", type(error).__name__)
            return call, []

    def _returned(self, prompt: str, cached: CachedAnswer | None, call: ModelCall | None) -> list[Generation] | None:
        try:
            found = None if cached is None else decode_hit(cached)
        except Exception as error:
            _log.warning("ignored a stored answer that cannot be read (%s)", type(error).__name__)
            found = None
        if cached is None or not found:
            if call is not None and call.refusal is not None:
                refusal, call.refusal = call.refusal, None
                raise refusal  # the answer that the cache had promised was evicted in between
            return None
        if call is not None and call.completes:
            self._record_completion(prompt, cached, call)
        return found

    def _record_completion(self, prompt: str, cached: CachedAnswer, call: ModelCall) -> None:
        """Record the hit of a completion model, which LangChain reports to no callback."""
        if self.guard is not None:
            answer, who = cached.answer, call.attribution(self.guard.tags) or Attribution()
            model = answer.model or model_name(UNKNOWN, call.model._identifying_params)
            recorded = calls.hit_call(self.guard, [prompt], model, None, who, kind="completion")
            calls.record_hit(self.guard, recorded, cached, answer)

    def _answer(
        self, layers: Sequence[CacheLayer], call: ModelCall | None, generations: Sequence[Generation]
    ) -> Answer | None:
        try:
            answer = answer_of(generations)
            exact = core.exact_layer(layers)
            model = answering_model(generations, None) or (None if exact is None else exact.key.model)
            usage = result_usage(generations, None)
            cost = saved_before(generations)
            if cost is None and usage is not None and model is not None:
                prices = public_prices() if self.guard is None else self.guard.prices
                cost = prices.cost(usage, model=model)
            return replace(answer, usage=usage, cost=cost, model=model)
        except NotCanonical as error:
            for layer in layers if call is None else call.leading(layers):
                layer.decline(str(error))
        except Exception as error:
            _log.warning("an answer could not be stored (%s); the caller has it", type(error).__name__)
        return None
