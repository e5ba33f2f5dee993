"""Embeddings that are metered, budgeted and paid once per text. LangChain gives them no callbacks: they are wrapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_core.embeddings import Embeddings

from costguard_core import CostGuard
from costguard_core.attribution import current_attribution
from costguard_core.cache.vectors import VectorCache, embedding_name, vector_settings
from costguard_core.counters.effects import Flow
from costguard_core.guard import check_guard
from costguard_core.lifecycle.drivers import arun, run
from costguard_core.lifecycle.embedding import EmbeddingModel, embed, embed_paid
from costguard_core.util.options import check_kind, names_options
from costguard_core.util.urls import host_in

Vectors = list[list[float]]
_PROVIDER_OF_PACKAGE = {"aws": "amazon_bedrock", "google_vertexai": "google_vertexai"}


@names_options
class GuardedEmbeddings(Embeddings):
    """``embeddings`` on the bill of ``guard``; each distinct text is paid once, also within one batch.

    Args:
        embeddings: any LangChain embeddings.
        guard: the bill.
        cache: where vectors are kept: a URL as for :class:`ExactCache` (``memory://`` by default), or ``None`` for no
            cache.
        model, provider: for prices, if they cannot be read off ``embeddings``.

    The provider's own usage is lost inside LangChain, so tokens are counted and marked as an estimate. Documents and
    queries are kept apart: many models embed them differently.

    Raises (from every call): as :meth:`CostGuard.before`.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        guard: CostGuard,
        *,
        cache: str | None = "memory://",
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        check_guard(guard)
        check_kind("embeddings", embeddings, Embeddings, "an embedding model of LangChain, such as OpenAIEmbeddings()")
        for name, value in (("cache", cache), ("model", model), ("provider", provider)):
            check_kind(name, value, (str, type(None)), "a text")
        self.embeddings, self.guard = embeddings, guard
        self.model = model or embedding_name(embeddings)
        self.provider = provider or _provider_of(embeddings)
        self._host = host_in(vars(embeddings))
        self._vectors = (
            VectorCache(cache, space=(self.provider, self.model, vector_settings(embeddings))) if cache else None
        )

    def embed_documents(self, texts: list[str]) -> Vectors:
        return run(self._embedding("document", texts, self.embeddings.embed_documents))

    def embed_query(self, text: str) -> list[float]:
        return run(self._embedding("query", [text], lambda one: [self.embeddings.embed_query(one[0])]))[0]

    async def aembed_documents(self, texts: list[str]) -> Vectors:
        return await arun(self._embedding("document", texts, self.embeddings.aembed_documents))

    async def aembed_query(self, text: str) -> list[float]:
        async def send(one: list[str]) -> Vectors:
            return [await self.embeddings.aembed_query(one[0])]

        return (await arun(self._embedding("query", [text], send)))[0]

    def _embedding(self, kind: str, texts: Sequence[str], send: Callable[[list[str]], object]) -> Flow[Vectors]:
        model = EmbeddingModel(self.guard, self.model, self.provider, current_attribution(), self._host)

        def missing_vectors(missing: list[str]) -> Flow[Vectors]:
            return embed_paid(model, missing, lambda: send(missing))

        return embed(model, self._vectors, kind, texts, missing_vectors)


def _provider_of(embeddings: Embeddings) -> str | None:
    """``langchain_openai`` → ``openai``: integrations are named after their provider."""
    package = type(embeddings).__module__.partition(".")[0]
    if not package.startswith("langchain_") or package == "langchain_core":
        return None
    name = package.removeprefix("langchain_")
    return _PROVIDER_OF_PACKAGE.get(name, name)
