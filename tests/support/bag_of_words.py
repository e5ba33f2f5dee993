"""A tiny embedding for tests: hashed word stems, so that questions with the same words are near."""

from __future__ import annotations

import math
import zlib

from langchain_core.embeddings import Embeddings

from costguard_core.cache.semantic.rules.phrase import phrase, stem

SIZE = 256


class BagOfWordsEmbeddings(Embeddings):
    def __init__(self, model: str = "bag-256") -> None:
        self.model = model
        self.calls: list[str] = []

    def embed_query(self, text: str) -> list[float]:
        self.calls.append(text)
        return bag_of_words(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def bag_of_words(text: str) -> list[float]:
    numbers = [0.0] * SIZE
    for word in phrase(text).words:
        weight = 1.0 if stem(word) in phrase(text).content else 0.3
        numbers[zlib.crc32(stem(word).encode()) % SIZE] += weight
    length = math.sqrt(sum(x * x for x in numbers)) or 1.0
    return [x / length for x in numbers]
