"""Any LangChain vector store as the index of a :class:`SemanticCache`."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from costguard_core.cache.semantic.index.base import Entry, Found, Vector, normalised

_ENTRY, _VECTOR = "costguard_entry", "costguard_vector"


class VectorStoreIndex:
    """Entries in vector stores, one store (namespace, collection, table …) for each scope.

    ``open_store(scope, embeddings)`` opens it; hand ``embeddings`` on to it::

        VectorStoreIndex(lambda scope, embeddings: PineconeVectorStore(index, embeddings, namespace=scope))

    The stores' own scores are not used, because every store means something else by them: the vector is kept beside
    the entry and compared here. What stores cannot do is left out: entries are listed, evicted and invalidated only if
    this process has seen them.
    """

    def __init__(self, open_store: Callable[[str, Embeddings], VectorStore], *, url: str = "vector store") -> None:
        self.url = url
        self._open_store = open_store
        self._given = _GivenVectors()
        self._stores: dict[str, VectorStore] = {}
        self._seen: dict[str, dict[str, Entry]] = {}
        self._state: str | None = None

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        store = self._store(scope)
        return self._found(scope, vector, store.similarity_search_by_vector(list(vector), k=k))

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        store = self._store(scope)
        return self._found(scope, vector, await store.asimilarity_search_by_vector(list(vector), k=k))

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        store = self._store(scope)
        if entry.id in self._seen.get(scope, {}):
            store.delete([entry.id])
        with self._given.giving(entry.question, vector):
            store.add_texts([entry.question], metadatas=[_metadata(entry, vector)], ids=[entry.id])
        self._seen.setdefault(scope, {})[entry.id] = entry

    def replace(self, scope: str, entry: Entry) -> None:
        found = [one for one in self._vectors(scope, entry) if one[0] == entry.id]
        if found:
            self.put(scope, entry, found[0][1])

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        if ids:
            self._store(scope).delete(list(ids))
            for one in ids:
                self._seen.get(scope, {}).pop(one, None)

    def entries(self, scope: str) -> list[Entry]:
        return list(self._seen.get(scope, {}).values())

    def count(self, scope: str) -> int:
        return len(self._seen.get(scope, {}))

    def scopes(self) -> list[str]:
        return list(self._seen)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        removed = 0
        for scope in self.scopes():
            doomed = [entry.id for entry in self.entries(scope) if set(tags) <= set(entry.tags)]
            self.delete(scope, doomed)
            removed += len(doomed)
        return removed

    def clear(self) -> None:
        for scope in self.scopes():
            self.delete(scope, [entry.id for entry in self.entries(scope)])

    def load_state(self) -> str | None:
        return self._state

    def save_state(self, state: str) -> None:
        self._state = state

    def close(self) -> None:
        self._stores.clear()

    def _store(self, scope: str) -> VectorStore:
        found = self._stores.get(scope)
        if found is None:
            found = self._stores[scope] = self._open_store(scope, self._given)
        return found

    def _found(self, scope: str, vector: Vector, documents: Sequence[Any]) -> list[Found]:
        asked, found = normalised(vector), []
        for document in documents:
            read = _read(document.metadata)
            if read is not None:
                entry, known = read
                self._seen.setdefault(scope, {})[entry.id] = entry
                found.append(Found(entry, sum(x * y for x, y in zip(asked, known, strict=True))))
        return sorted(found, key=lambda one: -one.similarity)

    def _vectors(self, scope: str, entry: Entry) -> list[tuple[str, list[float]]]:
        documents = self._store(scope).get_by_ids([entry.id])
        read = [_read(document.metadata) for document in documents]
        return [(known.id, vector) for known, vector in filter(None, read)]


class _GivenVectors(Embeddings):
    """Hands the store the vector that was paid for already, so that it does not embed again."""

    def __init__(self) -> None:
        self._vectors: dict[str, list[float]] = {}

    def giving(self, text: str, vector: Vector) -> Any:
        return _Giving(self._vectors, text, list(vector))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._vectors[text]


class _Giving:
    def __init__(self, vectors: dict[str, list[float]], text: str, vector: list[float]) -> None:
        self._vectors, self._text, self._vector = vectors, text, vector

    def __enter__(self) -> None:
        self._vectors[self._text] = self._vector

    def __exit__(self, *error: object) -> None:
        self._vectors.pop(self._text, None)


def _metadata(entry: Entry, vector: Vector) -> dict[str, str]:
    packed = array("f", normalised(vector)).tobytes()
    return {_ENTRY: entry.dump(), _VECTOR: base64.b64encode(packed).decode()}


def _read(metadata: Any) -> tuple[Entry, list[float]] | None:
    try:
        entry = Entry.load(metadata[_ENTRY])
        return entry, array("f", base64.b64decode(metadata[_VECTOR])).tolist()
    except (ValueError, TypeError, KeyError):
        return None
