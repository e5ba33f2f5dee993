"""The tiny embedding of :mod:`bag_of_words`, as an embedding model of LlamaIndex."""

from __future__ import annotations

from bag_of_words import bag_of_words
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr


class BagOfWordsEmbeddings(BaseEmbedding):
    """Questions with the same words are near."""

    _calls: list[str] = PrivateAttr(default_factory=list)

    def _get_query_embedding(self, query: str) -> list[float]:
        self._calls.append(query)
        return bag_of_words(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)
