"""``SemanticCache``: the same question in other words gets the same answer, from Chroma or any vector store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import Generation
from langchain_core.runnables import ensure_config

from costguard_core import Outcome
from costguard_core.attribution import current_attribution
from costguard_core.cache import Answer, NotCanonical
from costguard_core.cache.semantic.cache import BaseSemanticCache
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.hit import SemanticHit
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.pricing import PriceBook
from costguard_core.types import Attribution
from langchain_costguard.caches.question_embedder import LangChainEmbedder
from langchain_costguard.callbacks._caller import Caller, find_caller
from langchain_costguard.callbacks._promise import insist
from langchain_costguard.callbacks.completions import record_completion
from langchain_costguard.translate.answers import answer_of, answer_text, asks_for_tools, decode_hit
from langchain_costguard.translate.keys import RequestKeys
from langchain_costguard.translate.parameters import answering_model, result_usage
from langchain_costguard.translate.semantic_keys import ChatRequest


class SemanticCache(BaseSemanticCache[Embeddings], BaseCache):
    """Answers to the same question in other words; ``set_llm_cache(SemanticCache("wordllama",
    path="costguard.chroma"))``.

    Only the last question is embedded. Tenant, model and parameters, system prompt, tools, schema and embedding model
    must be equal, or it is another cache. Conversations, agents' turns and tool results are left to the exact cache.

    ``embeddings`` are any LangChain embeddings, ``"wordllama"`` or ``"minilm"``; ``index`` may be a
    :class:`VectorStoreIndex`, and ``compare`` what :func:`judged` returns. ``install`` binds the guard. Looking up and
    storing never raise: a broken index is a miss.
    """

    mark_field = "response_metadata"

    # LangChain's interface

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """A list, always: LangChain takes any other sequence for a miss."""
        caller = find_caller()
        query = self._raw_query(prompt, llm_string, caller)
        return self._returned(None if query is None else self.find(query), caller)

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        caller = find_caller()
        query = self._raw_query(prompt, llm_string, caller)
        return self._returned(None if query is None else await self.afind(query), caller)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        query, answer = self._raw_query(prompt, llm_string, find_caller()), self._answer(return_val)
        if query is not None and answer is not None:
            self.keep(query, answer)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        query, answer = self._raw_query(prompt, llm_string, find_caller()), self._answer(return_val)
        if query is not None and answer is not None:
            await self.akeep(query, answer)

    def clear(self, **kwargs: Any) -> None:
        """Delete every entry of this cache, and nothing else in the index. What was learned stays."""
        super().clear()

    async def aclear(self, **kwargs: Any) -> None:
        """:meth:`clear` for an event loop."""
        await super().aclear()

    # By the request's objects

    def query(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
    ) -> SemanticQuery | None:
        """The question and scope of a chat request, or ``None`` if this cache leaves it alone, which is counted."""
        return self._query(lambda: ChatRequest.of(self._keys, model, messages, stop, kwargs, attribution))

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
        who = current_attribution()
        return self._seed(
            answers, lambda question: self.query(model, [*before, HumanMessage(question)], stop, kwargs, who)
        )

    def explain(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        *,
        stop: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Verdict:
        """What would be decided for this request, and why; nothing is served or counted."""
        who = current_attribution()
        return self._explain(lambda: ChatRequest.of(self._keys, model, messages, stop, kwargs, who))

    # Inside

    @cached_property
    def _keys(self) -> RequestKeys:
        return RequestKeys(self.policy)

    @cached_property
    def _public_prices(self) -> PriceBook:
        return PriceBook()

    def _embedder(self, embeddings: Embeddings) -> LangChainEmbedder:
        return LangChainEmbedder(embeddings)

    def _text_of(self, payload: Any) -> str:
        return answer_text(payload)

    def _is_action(self, payload: Any) -> bool:
        return asks_for_tools(payload)

    def _raw_query(self, prompt: str, llm_string: str, caller: Caller | None) -> SemanticQuery | None:
        """The query of the strings that LangChain hands to a cache; where the caller is known it is believed."""
        if caller is None:
            who = current_attribution(ensure_config().get("metadata"))
            return self._query(lambda: ChatRequest.of_strings(self._keys, prompt, llm_string, who))
        who = current_attribution(caller.metadata)
        call = caller.model, caller.stop, caller.kwargs
        return self._query(lambda: ChatRequest.of_strings(self._keys, prompt, llm_string, who, call))

    def _returned(self, hit: SemanticHit | None, caller: Caller | None) -> list[Generation] | None:
        if hit is None:
            insist()
            return None
        try:
            found = decode_hit(hit)
        except Exception as error:
            self.engine.record_error("reading a stored answer", error)
            return None
        record_completion(self.guard, Outcome.SEMANTIC, hit.answer, caller)
        return found

    def _answer(self, generations: Sequence[Generation]) -> Answer | None:
        """The generations with what they say of their model and usage; ``None`` if they cannot be stored."""
        try:
            answer = answer_of(generations)
        except NotCanonical as error:
            self.decline(str(error))
            return None
        model, usage = answering_model(generations, None), result_usage(generations, None)
        prices = self._public_prices if self.guard is None else self.guard.prices
        cost = None if usage is None or model is None else prices.cost(usage, model=model)
        return replace(answer, usage=usage, cost=cost, model=model)
