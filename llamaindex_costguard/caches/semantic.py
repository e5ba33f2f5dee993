"""``SemanticCache``: the same question in other words gets the same answer, from Chroma or any vector index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM

from costguard_core import CostGuard
from costguard_core.cache import Answer
from costguard_core.cache.semantic.cache import BaseSemanticCache
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.query import SemanticQuery
from llamaindex_costguard.caches.layered import LayeredPlace
from llamaindex_costguard.caches.question_embedder import LlamaIndexEmbedder
from llamaindex_costguard.llm.call_context import who_asks
from llamaindex_costguard.llm.places import Place, Served, Wanted
from llamaindex_costguard.translate.answers import answer_text
from llamaindex_costguard.translate.parameters import facts_of
from llamaindex_costguard.translate.prompts import Chat
from llamaindex_costguard.translate.semantic_keys import PromptRequest


class SemanticCache(BaseSemanticCache[BaseEmbedding]):
    """Answers to the same question in other words: ``guard_llm(llm, guard, cache=SemanticCache("wordllama"))``.

    Only the question is embedded. In a RAG prompt it is the one that the template was filled with; retrieved context,
    template, system prompt, tenant, model and settings, output class and embedding model must be equal, or it is
    another cache. Conversations, agents and requests that offer tools are left to the exact cache.

    ``embeddings`` is any LlamaIndex embedding model, ``"wordllama"`` or ``"minilm"``. :func:`guard_llm` binds the
    guard. Looking up and storing never raise: a broken index is a miss.
    """

    mark_field = "additional_kwargs"

    def bind(self, guard: CostGuard | None) -> None:
        """Charge embeddings to this guard. The first one stays: a cache that two share pays once."""
        if self.guard is None:
            super().bind(guard)

    def query(self, wanted: Wanted) -> SemanticQuery | None:
        """The question and scope of a request, or ``None`` if this cache leaves it alone, which is counted."""
        return self._query(lambda: PromptRequest(self.policy, wanted))

    def seed(self, answers: Mapping[str, str], llm: LLM, *, before: Sequence[ChatMessage] = (), **kwargs: Any) -> int:
        """Store written answers by question, pinned; ``before`` are the messages in front of the question.

        They answer ``llm.chat``. Returns how many were stored. Raises what the embeddings or the index raise.
        """

        def query_of(question: str) -> SemanticQuery | None:
            return self.query(_chat(llm, [*before, ChatMessage(role=MessageRole.USER, content=question)], kwargs))

        return self._seed(answers, query_of)

    def explain(self, llm: LLM, messages: Sequence[ChatMessage], **kwargs: Any) -> Verdict:
        """What would be decided for this ``llm.chat`` request, and why; nothing is served or counted."""
        return self._explain(lambda: PromptRequest(self.policy, _chat(llm, messages, kwargs)))

    def _embedder(self, embeddings: BaseEmbedding) -> LlamaIndexEmbedder:
        return LlamaIndexEmbedder(embeddings)

    def _text_of(self, payload: Any) -> str:
        return answer_text(payload)

    # For guarded LLMs

    def layers_for(self, wanted: Wanted) -> list[SemanticLayer]:
        """This cache for one request; nothing if it leaves the request alone."""
        query = self.query(wanted)
        return [] if query is None else [SemanticLayer(self, query)]

    def board(self, wanted: Wanted) -> Place:
        """See :class:`LayeredPlace`."""
        return LayeredPlace(self.layers_for(wanted)).board()

    async def aboard(self, wanted: Wanted) -> Place:
        """:meth:`board` for an event loop."""
        return await LayeredPlace(self.layers_for(wanted)).aboard()


class SemanticLayer:
    """A :class:`SemanticCache`, by the query of one request."""

    approximate = True

    def __init__(self, cache: SemanticCache, query: SemanticQuery) -> None:
        self._cache, self._query = cache, query

    def find(self) -> Served | None:
        return self._cache.find(self._query)

    async def afind(self) -> Served | None:
        return await self._cache.afind(self._query)

    def begin(self) -> Served | None:
        return None

    async def abegin(self) -> Served | None:
        return None

    def save(self, answer: Answer) -> None:
        self._cache.keep(self._query, answer)

    async def asave(self, answer: Answer) -> None:
        await self._cache.akeep(self._query, answer)

    def decline(self, reason: str) -> None:
        self._cache.decline(reason)

    def fail(self) -> None:
        """Nobody waits for it."""


def _chat(llm: LLM, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Wanted:
    from llamaindex_costguard.llm.guarded import guarding_of

    guarding = guarding_of(llm)
    inner = type(llm) if guarding is None else guarding.inner
    return Wanted(facts_of(llm, inner), Chat(messages), kwargs, None, who_asks())
