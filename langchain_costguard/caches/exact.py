"""Caches for ``set_llm_cache``, ``ChatModel(cache=...)`` and :class:`GuardedChatModel`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.outputs import Generation
from langchain_core.runnables import ensure_config

from costguard_core import CostGuard
from costguard_core.attribution import current_attribution
from costguard_core.cache import (
    Answer,
    AnswerCache,
    CacheKey,
    CachePolicy,
    CacheStats,
    CacheStore,
    Hit,
    NotCanonical,
    Seat,
    Uncacheable,
    open_cache_store,
)
from costguard_core.pricing import PriceBook
from langchain_costguard.callbacks._caller import Caller, find_caller
from langchain_costguard.callbacks._promise import InsistingCache
from langchain_costguard.callbacks.completions import record_completion
from langchain_costguard.translate.answers import answer_of, decode_hit, saved_before
from langchain_costguard.translate.identity import spells_secret
from langchain_costguard.translate.keys import RequestKeys
from langchain_costguard.translate.parameters import answering_model, result_usage

_log = logging.getLogger("costguard.cache")


class ExactCache(InsistingCache):
    """Answers to identical requests, each paid for once: ``set_llm_cache(ExactCache("sqlite:///costguard.db"))``.

    Looking up never raises (a failure is a miss), and neither does storing (a failure is logged and counted): a broken
    cache does not cost the user the answer. Every hit is a fresh copy.

    Args:
        url: ``memory://`` (bounded), ``sqlite:///path.db``, ``redis://host:6379/0``; or an open store.
        ttl: seconds an entry lives, give or take ``policy.ttl_jitter``; shorthand for ``policy.ttl``.
        policy: what may be cached and who shares it; by default tenants never share.
        namespace: separates caches in one store; ``clear()`` clears only this one.
        guard: whose price list says what a hit saved. ``install`` binds it.
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
        self._own_prices: PriceBook | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ExactCache:
        return self  # a copied model keeps its cache

    def __repr__(self) -> str:
        return f"ExactCache({self.engine.store.url!r})"

    def bind(self, guard: CostGuard | None) -> None:
        """Use this guard's prices; ``None`` for the public list."""
        self.guard = guard

    # LangChain's interface

    def find(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`lookup` as one layer of several, where a miss is not the last word."""
        caller = find_caller()
        key = self._raw_key(prompt, llm_string, caller)
        if key is None:
            return None
        hit = self.engine.lookup(key)
        if hit is None and caller is not None:
            hit = self.engine.begin(key, caller.owner()).hit
        return self._served(hit, caller)

    async def afind(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`find` for an event loop."""
        caller = find_caller()
        key = self._raw_key(prompt, llm_string, caller)
        if key is None:
            return None
        hit = await self.engine.alookup(key)
        if hit is None and caller is not None:
            seat = await self.engine.abegin(key, caller.owner())
            _fail_with_task(seat)
            hit = seat.hit
        return self._served(hit, caller)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        key = self._raw_key(prompt, llm_string, find_caller(), again=True)
        if key is None:
            return
        answer = self._answer(key, return_val)
        if answer is None:
            self.engine.led(key).decline()
        else:
            self.engine.save(key, answer)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        key = self._raw_key(prompt, llm_string, find_caller(), again=True)
        if key is None:
            return
        # In a thread: the first price of a process loads the price list.
        answer = await asyncio.to_thread(self._answer, key, return_val)
        if answer is None:
            self.engine.led(key).decline()
        else:
            await self.engine.asave(key, answer)

    def clear(self, **kwargs: Any) -> None:
        """Delete the entries of this namespace, and nothing else in the store."""
        self.engine.clear()

    async def aclear(self, **kwargs: Any) -> None:
        await self.engine.aclear()

    # More than LangChain asks for

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

    # Inside

    def _raw_key(self, prompt: str, llm_string: str, caller: Caller | None, *, again: bool = False) -> CacheKey | None:
        try:
            key = self._key_of_caller(prompt, llm_string, caller)
        except Exception as error:
            _log.warning("no cache key could be made (%s); the call goes uncached", type(error).__name__)
            return None
        if isinstance(key, Uncacheable):
            if not again:
                self.engine.decline(key.reason)
            return None
        return key

    def _key_of_caller(self, prompt: str, llm_string: str, caller: Caller | None) -> CacheKey | Uncacheable:
        if caller is None:
            return self.keys.raw(prompt, llm_string, current_attribution(ensure_config().get("metadata")))
        who = current_attribution(caller.metadata)
        return self.keys.raw(
            prompt,
            llm_string,
            who,
            model=caller.model,
            stop=caller.stop,
            kwargs=caller.kwargs,
            complete=caller.messages is not None,
        )

    def _served(self, hit: Hit | None, caller: Caller | None) -> list[Generation] | None:
        if hit is None:
            return None
        try:
            found = decode_hit(hit)
        except Exception as error:
            _log.warning("ignored a stored answer that cannot be read (%s)", type(error).__name__)
            return None
        if not found:
            return None
        record_completion(self.guard, hit.outcome, hit.answer, caller)
        return found

    def _answer(self, key: CacheKey, generations: Sequence[Generation]) -> Answer | None:
        try:
            answer = answer_of(generations)
            model = answering_model(generations, None) or key.model
            usage = result_usage(generations, None)
            cost = saved_before(generations)
            if cost is None and usage is not None and model is not None:
                cost = self._prices().cost(usage, model=model)
            return replace(answer, usage=usage, cost=cost, model=model)
        except NotCanonical as error:
            self.engine.decline(str(error))
        except Exception as error:
            _log.warning("an answer could not be stored (%s); the caller has it", type(error).__name__)
        return None

    def _prices(self) -> PriceBook:
        if self.guard is not None:
            return self.guard.prices
        if self._own_prices is None:
            self._own_prices = PriceBook()
        return self._own_prices


class LayeredCache(InsistingCache):
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    ``LayeredCache([ExactCache("memory://"), ExactCache("redis://cache")])``. Layers may be any LangChain caches.
    """

    def __init__(self, layers: Sequence[BaseCache]) -> None:
        if not layers:
            raise ValueError("a LayeredCache needs at least one layer")
        self.layers = tuple(layers)
        self.guard: CostGuard | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> LayeredCache:
        return self  # a copied model keeps its cache

    def __repr__(self) -> str:
        return f"LayeredCache({list(self.layers)!r})"

    def bind(self, guard: CostGuard | None) -> None:
        """Bind every layer that can be bound."""
        self.guard = guard
        for layer in self.layers:
            if callable(bind := getattr(layer, "bind", None)):
                bind(guard)

    def find(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`lookup` as one layer of several, where a miss is not the last word."""
        for depth, layer in enumerate(self.layers):
            ask = layer.find if isinstance(layer, InsistingCache) else layer.lookup
            found = _tried(ask, prompt, _scoped(layer, llm_string))
            if found:
                for earlier in self._earlier(depth):
                    _tried(earlier.update, prompt, _scoped(earlier, llm_string), _copies(found))
                return list(found)
        return None

    async def afind(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`find` for an event loop."""
        for depth, layer in enumerate(self.layers):
            ask = layer.afind if isinstance(layer, InsistingCache) else layer.alookup
            found = await _atried(ask, prompt, _scoped(layer, llm_string))
            if found:
                for earlier in self._earlier(depth):
                    await _atried(earlier.aupdate, prompt, _scoped(earlier, llm_string), _copies(found))
                return list(found)
        return None

    def _earlier(self, depth: int) -> Sequence[BaseCache]:
        """The layers to fill from a hit in this one; none from a semantic hit: it could not be refuted there."""
        return () if getattr(self.layers[depth], "approximate", False) else self.layers[:depth]

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        for layer in self.layers:
            _tried(layer.update, prompt, _scoped(layer, llm_string), _copies(return_val))

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        for layer in self.layers:
            await _atried(layer.aupdate, prompt, _scoped(layer, llm_string), _copies(return_val))

    def clear(self, **kwargs: Any) -> None:
        for layer in self.layers:
            layer.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        for layer in self.layers:
            await layer.aclear(**kwargs)


def foreign_string(llm_string: str, tenant: str | None) -> str:
    """LangChain's string for a cache that is not ours: it knows no tenants, and writes the string down as it is.

    Unchanged where nobody names a tenant and no header or argument in it authenticates; else a digest stands for it.
    """
    safe = f"sha256:{sha256(llm_string.encode()).hexdigest()}" if spells_secret(llm_string) else llm_string
    return safe if tenant is None else f"{safe}---[('tenant', {tenant!r})]"


def _scoped(layer: BaseCache, llm_string: str) -> str:
    if hasattr(layer, "bind"):  # one of ours, which knows for whom it is asked
        return llm_string
    caller = find_caller()
    metadata = ensure_config().get("metadata") if caller is None else caller.metadata
    return foreign_string(llm_string, current_attribution(metadata).tenant)


def _tried(method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except Exception as error:
        _log.warning("a cache layer failed (%s); the answer is unaffected", type(error).__name__)
        return None


async def _atried(method: Callable[..., Any], *args: Any) -> Any:
    try:
        return await method(*args)
    except Exception as error:
        _log.warning("a cache layer failed (%s); the answer is unaffected", type(error).__name__)
        return None


def _copies(generations: Sequence[Generation]) -> list[Generation]:
    # A foreign layer may keep the objects that it is given, and the caller may change them.
    return [generation.model_copy(deep=True) for generation in generations]


def _fail_with_task(seat: Seat) -> None:
    task = asyncio.current_task()
    if seat.leads and task is not None:
        task.add_done_callback(lambda _: seat.fail())
