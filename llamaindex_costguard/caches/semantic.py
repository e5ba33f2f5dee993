"""``SemanticCache``: the same question in other words gets the same answer, from Chroma or any vector index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM

from costguard_core import CostGuard
from costguard_core.cache.layers import CacheLayer, SemanticLayer
from costguard_core.cache.request import tier_for, tiers_of
from costguard_core.cache.semantic.cache import BaseSemanticCache
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.query import SemanticQuery, SemanticRequest
from costguard_core.cache.semantic.written import Seeded
from costguard_core.util.options import names_options
from llamaindex_costguard.caches.question_embedder import LlamaIndexEmbedder
from llamaindex_costguard.translate.answers import answer_text
from llamaindex_costguard.translate.keys import RequestContent, integration_class, who_asks
from llamaindex_costguard.translate.messages import Chat, Text
from llamaindex_costguard.translate.parameters import model_settings
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
    embeddings_class, judge_class, judge_room = BaseEmbedding, LLM, "llamaindex_costguard.llm.answer_judge"
    embedder_class, _text_of = LlamaIndexEmbedder, staticmethod(answer_text)

    def bind(self, guard: CostGuard | None) -> None:
        """Charge embeddings to this guard. The first one stays: a cache that two share pays once."""
        if self.guard is None:
            super().bind(guard)

    def query(self, request: RequestContent) -> SemanticQuery | None:
        """The question and scope of a request, or ``None`` if this cache leaves it alone, which is counted."""
        return self._query(lambda: PromptRequest(self.policy, request))

    @names_options
    def seed(
        self,
        answers: Mapping[str, str],
        llm: LLM,
        *,
        paraphrases: Mapping[str, Sequence[str]] | None = None,
        before: Sequence[ChatMessage] = (),
        **kwargs: Any,
    ) -> Seeded:
        """Store written answers by question, pinned; they are served at once, to ``llm.chat`` and, without ``before``,
        to ``llm.complete``; not to engines, whose answers depend on what was retrieved. For a router: by any tier.

        ``paraphrases``: other wordings of a question. ``before``: the messages in front of it. Returns how many were
        stored; ``declined`` says which were not, and why. Raises what the embeddings or the index raise.
        """

        def read(tier: LLM, as_chat: bool, question: str) -> SemanticRequest:
            chat = [*before, ChatMessage(role=MessageRole.USER, content=question)]
            return PromptRequest(self.policy, _content(tier, chat if as_chat else question, kwargs))

        ways = product(tiers_of(llm), (True,) if before else (True, False))
        return self._seed(answers, [partial(read, *way) for way in ways], paraphrases)

    def explain(self, llm: LLM, messages: str | Sequence[ChatMessage], **kwargs: Any) -> Verdict:
        """What would be decided for ``llm.chat``, or of a text ``llm.complete``, and why; nothing is served."""
        return self._explain(lambda: PromptRequest(self.policy, _content(tier_for(llm, messages), messages, kwargs)))

    def request_layers(self, request: RequestContent) -> list[CacheLayer]:
        """This cache for one request; nothing if it leaves the request alone."""
        query = self.query(request)
        return [] if query is None else [SemanticLayer(self, query)]


def _content(llm: LLM, asked: str | Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> RequestContent:
    prompt = Text(asked, formatted=False) if isinstance(asked, str) else Chat(asked)
    return RequestContent(model_settings(llm, integration_class(llm)), prompt, kwargs, None, who_asks())
