"""``SemanticCache``: the same question in other words gets the same answer, from Chroma or any vector store."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import Generation
from langchain_core.runnables import ensure_config

from costguard_core import CostGuard, Outcome
from costguard_core.attribution import current_attribution
from costguard_core.cache import Answer, CachePolicy, NotCanonical, Uncacheable
from costguard_core.cache.semantic.async_writer import Saver
from costguard_core.cache.semantic.comparator.comparator import Comparator
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.engine import Decide, SemanticEngine
from costguard_core.cache.semantic.hit import Asked, NearMiss, SemanticHit, SemanticStats
from costguard_core.cache.semantic.index.base import Index
from costguard_core.cache.semantic.index.opening import open_index
from costguard_core.pricing import PriceBook
from costguard_core.types import Attribution, Usage
from langchain_costguard.caches.vectors import Vectors
from langchain_costguard.callbacks._caller import Caller, find_caller
from langchain_costguard.callbacks._promise import insist
from langchain_costguard.callbacks.completions import record_completion
from langchain_costguard.translate.answers import answer_of
from langchain_costguard.translate.parameters import answering_model, result_usage
from langchain_costguard.translate.semantic_answers import calls_tools, hit_name, marked, said
from langchain_costguard.translate.semantic_keys import ScopeKeys

_log = logging.getLogger("costguard.cache")


class SemanticCache(BaseCache):
    """Answers to the same question in other words; ``set_llm_cache(SemanticCache("wordllama",
    path="costguard.chroma"))``.

    Only the last question is embedded. Tenant, model and parameters, system prompt, tools, schema and embedding model
    must be equal, or it is another cache. Conversations, agents' turns and tool results are left to the exact cache.

    Args:
        embeddings: any LangChain embeddings; or ``"wordllama"`` or ``"minilm"``, which run here and cost nothing.
        path: a folder, for one process. url, client: a ``chroma run`` server, for several. index: anything else, for
            example :class:`VectorStoreIndex`.
        decide: ``"calibrated"`` serves only while fewer than ``max_error`` of the hits are wrong, which it learns from
            the answers that are paid for anyway; it starts closed. ``"guarded"`` serves above ``threshold`` (cosine;
            higher is stricter) when no number, name, negation, opposite or order differs.
        compare: do two answers say the same? Free text by default; give your own for a domain (``(str, str) ->
            Comparison``), or :func:`judged`, which asks a model where words do not tell.
        audit: share of the hits that is paid for anyway, to measure.
        ttl: seconds an entry lives; shorthand for ``policy.ttl``.
        policy: what may be cached and who shares it, as for :class:`ExactCache`.
        history: answer inside conversations too; the history is then part of what must be equal.
        max_entries: per scope. max_scopes: how many scopes are kept; a scope is a combination of all that must be
            equal.
        guard: the bill that embeddings are on, and whose prices say what a hit saved. ``install`` binds it.

    Looking up and storing never raise: a broken index is a miss.
    """

    approximate = True  # a LayeredCache does not copy its hits into other layers

    def __init__(
        self,
        embeddings: Embeddings | str,
        *,
        path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        client: Any = None,
        index: Index | None = None,
        decide: Decide = "calibrated",
        threshold: float = 0.9,
        max_error: float = 0.02,
        compare: Comparator | None = None,
        audit: float = 0.02,
        ttl: float | None = None,
        policy: CachePolicy | None = None,
        history: bool = False,
        max_entries: int = 10_000,
        max_scopes: int = 200,
        namespace: str = "costguard",
        timeout: float = 0.1,
        guard: CostGuard | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        policy = CachePolicy.of(policy, ttl)
        self.vectors = Vectors(embeddings)
        space = self.vectors.fingerprint
        if index is None:
            index = open_index(space, path=path, url=url, client=client, namespace=namespace, timeout=timeout)
        self.engine = SemanticEngine(
            index,
            policy,
            decide=decide,
            threshold=threshold,
            max_error=max_error,
            compare=compare,
            audit=audit,
            max_entries=max_entries,
            max_scopes=max_scopes,
            clock=clock,
        )
        self.keys = ScopeKeys(policy, space=space, history=history)
        self.guard: CostGuard | None = None
        self._own_prices: PriceBook | None = None
        self.saver = Saver(self.engine)
        self.bind(guard)

    def __deepcopy__(self, memo: dict[int, Any]) -> SemanticCache:
        return self  # a copied model keeps its cache

    def __repr__(self) -> str:
        return f"SemanticCache({self.vectors.name!r}, {self.engine.index.url!r}, decide={self.engine.decide!r})"

    def bind(self, guard: CostGuard | None) -> None:
        """Put embeddings on this guard's bill and use its prices; ``None`` for neither."""
        self.guard = guard
        self.vectors.bind(guard)

    # LangChain's interface

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """A list, always: LangChain takes any other sequence for a miss."""
        caller = find_caller()
        asked = self._raw(prompt, llm_string, caller)
        return self._returned(None if asked is None else self.find(asked), caller)

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        caller = find_caller()
        asked = self._raw(prompt, llm_string, caller)
        return self._returned(None if asked is None else await self.afind(asked), caller)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        asked = self._raw(prompt, llm_string, find_caller())
        if asked is not None:
            self.keep(asked, return_val)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        asked = self._raw(prompt, llm_string, find_caller())
        if asked is not None:
            await self.akeep(asked, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Delete every entry of this cache, and nothing else in the index. What was learned stays."""
        self.engine.clear()

    async def aclear(self, **kwargs: Any) -> None:
        await asyncio.to_thread(self.clear)

    # Feedback and care

    def refute(self, hit: Any, *, everywhere: bool = False) -> bool:
        """This answer was wrong: never again give it to that question (``everywhere``: to any).

        ``hit`` is the message that was served, or its ``response_metadata["costguard"]["hit"]``. Returns whether it is
        known.
        """
        name = hit_name(hit)
        return name is not None and self.engine.refute(name, everywhere=everywhere)

    def confirm(self, hit: Any) -> bool:
        """This answer was right."""
        name = hit_name(hit)
        return name is not None and self.engine.confirm(name)

    def pin(self, hit: Any) -> bool:
        """Keep the entry behind this answer: it neither expires nor is evicted."""
        name = hit_name(hit)
        return name is not None and self.engine.pin(name)

    def invalidate(self, **tags: str) -> int:
        """Delete entries that carry all the tags, e.g. ``invalidate(document="faq-7")``; returns how many."""
        return self.engine.invalidate(tags)

    async def ainvalidate(self, **tags: str) -> int:
        """:meth:`invalidate` for an event loop."""
        return await asyncio.to_thread(self.engine.invalidate, tags)

    def erase(self, **tags: str) -> int:
        """:meth:`invalidate`, leaving nothing on disk: files that held the entries are written again. For
        ``erase(user="u1")``."""
        return self.engine.invalidate(tags, scrub=True)

    def seed(
        self,
        answers: Mapping[str, str],
        model: BaseLanguageModel[Any],
        *,
        before: Sequence[BaseMessage] = (),
        stop: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> int:
        """Store written answers by question, pinned; ``before`` are the messages in front of the question (the system
        prompt).

        Returns how many were stored. Raises what the embeddings or the index raise.
        """
        stored = 0
        for question, text in answers.items():
            asked = self.asked(model, [*before, HumanMessage(question)], stop, kwargs, current_attribution())
            if asked is not None:
                answer = Answer(payload={"text": text}, finish=("stop",))
                self.engine.seed(asked, self.vectors.of(asked.question), answer, text)
                stored += 1
        return stored

    def purge(self) -> int:
        """Delete what has expired; returns how many entries."""
        return self.engine.purge()

    def stats(self) -> SemanticStats:
        """Hits, misses, what was saved, and the measured error with its interval."""
        return self.engine.stats()

    def near_misses(self) -> list[NearMiss]:
        """The last questions that were similar enough and refused for what they say; kept in memory only."""
        return self.engine.near_misses()

    def explain(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        *,
        stop: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Verdict:
        """What would be decided for this request, and why; nothing is served or counted."""
        asked = self.keys.chat(model, messages, stop, kwargs, current_attribution())
        if isinstance(asked, Uncacheable):
            return Verdict(False, asked.reason)
        return self.engine.explain(asked, self.vectors.of(asked.question))

    def close(self) -> None:
        """Write down what was learned and let go of the index."""
        self.saver.close()

    # For guarded models

    def asked(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
    ) -> Asked | None:
        """The question and scope of a chat request, or ``None`` if this cache leaves it alone."""
        return self._counted(self.keys.chat(model, messages, stop, kwargs, attribution))

    def find(self, asked: Asked) -> SemanticHit | None:
        """Look up. Never raises."""
        try:
            vector = self.vectors.of(asked.question)
        except Exception as error:
            self.engine.failed("embedding", error)
            return None
        return self.engine.lookup(asked, vector)

    async def afind(self, asked: Asked) -> SemanticHit | None:
        """:meth:`find` for an event loop."""
        try:
            vector = await self.vectors.aof(asked.question)
        except Exception as error:
            self.engine.failed("embedding", error)
            return None
        return await self.engine.alookup(asked, vector)

    def keep(
        self,
        asked: Asked,
        generations: Sequence[Generation],
        *,
        usage: Usage | None = None,
        cost: int | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Learn from a paid answer and store it. Never raises. ``cost`` is nano-dollars."""
        try:
            if calls_tools(generations) and not asked.fills_in:
                self.engine.decline("the answer is a tool call")
                return
            answer = self._answer(generations, usage, cost, model, provider)
            vector = self.vectors.of(asked.question)
            self.saver.save(asked, vector, answer, said(generations))
        except NotCanonical as error:
            self.engine.decline(str(error))
        except Exception as error:
            self.engine.failed("update", error)

    async def akeep(
        self,
        asked: Asked,
        generations: Sequence[Generation],
        *,
        usage: Usage | None = None,
        cost: int | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        """:meth:`keep` for an event loop: writing takes milliseconds, so it happens in a thread."""
        try:
            await self.vectors.aof(asked.question)  # remembered for the thread
        except Exception as error:
            self.engine.failed("embedding", error)
            return
        facts = {"usage": usage, "cost": cost, "model": model, "provider": provider}
        await asyncio.to_thread(self.keep, asked, generations, **facts)  # type: ignore[arg-type]

    def served(self, hit: SemanticHit) -> list[Generation]:
        """The generations of a hit: fresh copies, chat messages marked."""
        return marked(hit)

    # Inside

    def _raw(self, prompt: str, llm_string: str, caller: Caller | None) -> Asked | None:
        try:
            if caller is None:
                who = current_attribution(ensure_config().get("metadata"))
                return self._counted(self.keys.raw(prompt, llm_string, who))
            who = current_attribution(caller.metadata)
            given = {"model": caller.model, "stop": caller.stop, "kwargs": caller.kwargs}
            return self._counted(self.keys.raw(prompt, llm_string, who, **given))
        except Exception as error:
            _log.warning("no semantic key could be made (%s); the call goes uncached", type(error).__name__)
            return None

    def _counted(self, asked: Asked | Uncacheable) -> Asked | None:
        if isinstance(asked, Uncacheable):
            self.engine.decline(asked.reason)
            return None
        return asked

    def _returned(self, hit: SemanticHit | None, caller: Caller | None) -> list[Generation] | None:
        if hit is None:
            insist()
            return None
        try:
            found = self.served(hit)
        except Exception as error:
            _log.warning("ignored a stored answer that cannot be read (%s)", type(error).__name__)
            return None
        record_completion(self.guard, Outcome.SEMANTIC, hit.answer, caller)
        return found

    def _answer(
        self,
        generations: Sequence[Generation],
        usage: Usage | None,
        cost: int | None,
        model: str | None,
        provider: str | None,
    ) -> Answer:
        answer = answer_of(generations)
        model = model or answering_model(generations, None)
        usage = usage or result_usage(generations, None)
        if cost is None and usage is not None and model is not None:
            cost = self._prices().cost(usage, model=model, provider=provider)
        return replace(answer, usage=usage, cost=cost, model=model, provider=provider)

    def _prices(self) -> PriceBook:
        if self.guard is not None:
            return self.guard.prices
        if self._own_prices is None:
            self._own_prices = PriceBook()
        return self._own_prices
