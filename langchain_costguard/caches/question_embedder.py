"""LangChain embeddings as the semantic cache uses them: one question at a time, charged to a guard."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from costguard_core import CostGuard
from costguard_core.cache.semantic.embeddings import fingerprint
from costguard_core.cache.vectors import embedding_name, vector_settings
from langchain_costguard.embeddings.guarded import GuardedEmbeddings, _provider_of


class LangChainEmbedder:
    """Embeds with ``embeddings``; once bound, each call is metered and budgeted."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        self.name = embedding_name(embeddings)
        self.space = fingerprint(_provider_of(embeddings), self.name, vector_settings(embeddings))
        self._bound = embeddings

    def bind(self, guard: CostGuard | None) -> None:
        """Charge calls to this guard; embeddings that are on a bill already stay there."""
        if guard is None or isinstance(self.embeddings, GuardedEmbeddings):
            self._bound = self.embeddings
        else:
            self._bound = GuardedEmbeddings(self.embeddings, guard)

    def embed(self, text: str) -> list[float]:
        return self._bound.embed_query(text)

    async def aembed(self, text: str) -> list[float]:
        return await self._bound.aembed_query(text)
