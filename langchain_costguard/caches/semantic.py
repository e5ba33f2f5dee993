"""``SemanticCache``: the same question in other words gets the same answer, from Chroma or any vector store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import BaseMessage, HumanMessage

from costguard_core.attribution import current_attribution
from costguard_core.cache.layers import CacheLayer, SemanticLayer
from costguard_core.cache.request import bare_model, tier_for, tiers_of
from costguard_core.cache.semantic.cache import BaseSemanticCache
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.query import SemanticQuery, SemanticRequest
from costguard_core.cache.semantic.written import Seeded
from costguard_core.util.options import names_options
from langchain_costguard.caches.base import ClearsAsLangChain, LayeredLookup
from langchain_costguard.caches.question_embedder import LangChainEmbedder
from langchain_costguard.translate.answers import answer_text, asks_for_tools
from langchain_costguard.translate.keys import ChatContent, TextContent
from langchain_costguard.translate.semantic_keys import SemanticChatRequest


class SemanticCache(ClearsAsLangChain, BaseSemanticCache[Embeddings], LayeredLookup):
    """Answers to the same question in other words: ``set_llm_cache(SemanticCache("wordllama"))``.

    Only the last question is embedded. Tenant, model and parameters, system prompt, tools, schema and embedding model
    must be equal, or it is another cache. Conversations, agents' turns and tool results are left to the exact cache.

    ``embeddings`` are any LangChain embeddings, ``"wordllama"`` or ``"minilm"``; ``index`` may be a
    :class:`VectorStoreCacheIndex`, ``compare`` what :func:`judged` returns, and ``verify`` a chat model. ``install``
    binds the guard. Looking up and storing never raise: a broken index is a miss.
    """

    mark_field = "response_metadata"
    embeddings_class, judge_class, judge_room = Embeddings, BaseChatModel, "langchain_costguard.chat_model.answer_judge"
    embedder_class, _text_of, _is_action = LangChainEmbedder, staticmethod(answer_text), staticmethod(asks_for_tools)

    def layers_for(self, content: ChatContent) -> list[CacheLayer]:
        query = self.query(content)
        return [] if query is None else [SemanticLayer(self, query)]

    def layers_for_text(self, content: TextContent) -> list[CacheLayer]:
        query = self._query(lambda: SemanticChatRequest(self.policy, self.keys.read_text(content)))
        return [] if query is None else [SemanticLayer(self, query)]

    def query(self, content: ChatContent) -> SemanticQuery | None:
        """The question and scope of a chat request, or ``None`` if this cache leaves it alone, which is counted."""
        return self._query(lambda: SemanticChatRequest(self.policy, self.keys.read(content)))

    @names_options
    def seed(
        self,
        answers: Mapping[str, str],
        model: BaseLanguageModel[Any],
        *,
        paraphrases: Mapping[str, Sequence[str]] | None = None,
        before: Sequence[BaseMessage] = (),
        stop: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Seeded:
        """Store written answers by question, pinned; they are served at once. For a router: whichever tier is asked.

        ``paraphrases``: other wordings of a question. ``before``: the messages in front of it (the system prompt).
        Returns how many were stored; ``declined`` says which were not, and why. Raises what embeddings or index raise.
        """

        def read(tier: BaseLanguageModel[Any], question: str) -> SemanticRequest:
            asked = [*before, HumanMessage(question)]
            content = ChatContent(bare_model(tier), asked, stop, kwargs, current_attribution())
            return SemanticChatRequest(self.policy, self.keys.read(content))

        return self._seed(answers, [partial(read, tier) for tier in tiers_of(model)], paraphrases)

    def explain(
        self,
        model: BaseLanguageModel[Any],
        messages: str | Sequence[BaseMessage],
        *,
        stop: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Verdict:
        """What would be decided for this request, and why; nothing is served or counted. Of a router: for its tier."""
        asked = [HumanMessage(messages)] if isinstance(messages, str) else messages
        content = ChatContent(bare_model(tier_for(model, asked)), asked, stop, kwargs, current_attribution())
        return self._explain(lambda: SemanticChatRequest(self.policy, self.keys.read(content)))
