"""Any LangChain vector store as the index of a :class:`SemanticCache`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from costguard_core.cache.semantic.index.documents import DocumentIndex, Metadata
from costguard_core.util.options import names_options


@names_options
class VectorStoreCacheIndex(DocumentIndex):
    """Entries in vector stores, one store (namespace, collection, table …) for each scope.

    ``open_store(scope, embeddings)`` opens it; hand ``embeddings`` on to it::

        VectorStoreCacheIndex(lambda scope, embeddings: PineconeVectorStore(index, embeddings, namespace=scope))

    What stores cannot do is left out: entries are listed, evicted and invalidated only if this process has seen them.
    """

    def __init__(self, open_store: Callable[[str, Embeddings], VectorStore], *, url: str = "vector store") -> None:
        super().__init__(url=url)
        self._open_store = open_store
        self._known = _KnownVectors()
        self._stores: dict[str, VectorStore] = {}

    def close(self) -> None:
        self._stores.clear()

    def _search(self, scope: str, vector: list[float], k: int) -> Sequence[Metadata]:
        return [found.metadata for found in self._store(scope).similarity_search_by_vector(vector, k=k)]

    async def _asearch(self, scope: str, vector: list[float], k: int) -> Sequence[Metadata]:
        return [found.metadata for found in await self._store(scope).asimilarity_search_by_vector(vector, k=k)]

    def _add(self, scope: str, name: str, text: str, vector: list[float], metadata: dict[str, str]) -> None:
        self._known.vectors[text] = vector
        try:
            self._store(scope).add_texts([text], metadatas=[metadata], ids=[name])
        finally:
            self._known.vectors.pop(text, None)

    def _get(self, scope: str, name: str) -> Sequence[Metadata]:
        return [found.metadata for found in self._store(scope).get_by_ids([name])]

    def _delete(self, scope: str, names: list[str]) -> None:
        self._store(scope).delete(names)

    def _store(self, scope: str) -> VectorStore:
        found = self._stores.get(scope)
        if found is None:
            found = self._stores[scope] = self._open_store(scope, self._known)
        return found


class _KnownVectors(Embeddings):
    """Gives the store the vector that was paid for already, so that it does not embed again."""

    def __init__(self) -> None:
        self.vectors: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[text]


def __getattr__(name: str) -> Any:
    if name != "VectorStoreIndex":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("VectorStoreIndex is called VectorStoreCacheIndex now", DeprecationWarning, stacklevel=3)
    return VectorStoreCacheIndex
