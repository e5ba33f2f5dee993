"""Entries as documents in the vector stores of a framework: what is common to all of them."""

from __future__ import annotations

import base64
import uuid
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from costguard_core.cache.semantic.index.base import Entry, Found, Vector, normalised

_ENTRY, _VECTOR, _NAME = "costguard_entry", "costguard_vector", "costguard_id"
_NAMES = uuid.UUID("4d1c7d2e-0f0b-4f5e-8a53-5e0c0d6d0a7b")  # Weaviate and Qdrant take UUIDs only as names of documents
Metadata = Mapping[str, Any]


class DocumentIndex(ABC):
    """One vector store (namespace, collection, table …) for each scope; a subclass says how it is used.

    The stores' own scores are not used, because every store means something else by them: the vector is kept in the
    document's metadata and compared here. What stores cannot do is left out: entries are listed, evicted and
    invalidated only if this process has seen them, and what was learned is kept in this process only.
    """

    def __init__(self, *, url: str) -> None:
        self.url = url
        self._seen: dict[str, dict[str, Entry]] = {}
        self._documents: dict[tuple[str, str], str] = {}  # their names, by scope and id of the entry
        self._state: str | None = None

    # What a subclass says

    @abstractmethod
    def _search(self, scope: str, vector: list[float], k: int) -> Sequence[Metadata]:
        """The metadata of the ``k`` nearest documents."""

    @abstractmethod
    async def _asearch(self, scope: str, vector: list[float], k: int) -> Sequence[Metadata]: ...

    @abstractmethod
    def _add(self, scope: str, name: str, text: str, vector: list[float], metadata: dict[str, str]) -> None:
        """Store a document of which there is none of that name."""

    @abstractmethod
    def _get(self, scope: str, name: str) -> Sequence[Metadata]:
        """The metadata of the document of that name, if there is one."""

    @abstractmethod
    def _delete(self, scope: str, names: list[str]) -> None: ...

    # The index

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        return self._found(scope, vector, self._search(scope, list(vector), k))

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        return self._found(scope, vector, await self._asearch(scope, list(vector), k))

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        if entry.id in self._seen.get(scope, {}):
            self._delete(scope, [self._name(scope, entry.id)])
        name = _document_name(scope, entry.id)
        self._add(scope, name, entry.question, list(vector), _pack(entry, vector, name))
        self._remember(scope, entry, name)

    def replace(self, scope: str, entry: Entry) -> None:
        for row in filter(None, map(_unpack, self._get(scope, self._name(scope, entry.id)))):
            if row[0].id == entry.id:
                self.put(scope, entry, row[1])

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        if ids:
            self._delete(scope, [self._name(scope, one) for one in ids])
            for one in ids:
                self._seen.get(scope, {}).pop(one, None)
                self._documents.pop((scope, one), None)

    def entries(self, scope: str) -> list[Entry]:
        return list(self._seen.get(scope, {}).values())

    def count(self, scope: str) -> int:
        return len(self._seen.get(scope, {}))

    def scopes(self) -> list[str]:
        return list(self._seen)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        removed = 0
        for scope in self.scopes():
            matching = [entry.id for entry in self.entries(scope) if set(tags) <= set(entry.tags)]
            self.delete(scope, matching)
            removed += len(matching)
        return removed

    def clear(self) -> None:
        for scope in self.scopes():
            self.delete(scope, [entry.id for entry in self.entries(scope)])

    def load_state(self) -> str | None:
        return self._state

    def save_state(self, state: str) -> None:
        self._state = state

    @abstractmethod
    def close(self) -> None:
        """Let go of the stores."""

    def _name(self, scope: str, entry: str) -> str:
        return self._documents.get((scope, entry)) or _document_name(scope, entry)

    def _remember(self, scope: str, entry: Entry, name: str) -> None:
        self._seen.setdefault(scope, {})[entry.id] = entry
        self._documents[scope, entry.id] = name

    def _found(self, scope: str, vector: Vector, documents: Sequence[Metadata]) -> list[Found]:
        query, found = normalised(vector), []
        for entry, known, name in filter(None, map(_unpack, documents)):
            self._remember(scope, entry, name)
            found.append(Found(entry, sum(x * y for x, y in zip(query, known, strict=True))))
        return sorted(found, key=lambda one: -one.similarity)


def _document_name(scope: str, entry: str) -> str:
    return str(uuid.uuid5(_NAMES, f"{scope} {entry}"))


def _pack(entry: Entry, vector: Vector, name: str) -> dict[str, str]:
    numbers = array("f", normalised(vector)).tobytes()
    return {_ENTRY: entry.dump(), _VECTOR: base64.b64encode(numbers).decode(), _NAME: name}


def _unpack(metadata: Metadata) -> tuple[Entry, list[float], str] | None:
    """An entry, its vector and its document's name; ``None`` for somebody else's document, or another release's.

    Earlier releases named documents as the entry.
    """
    try:
        entry = Entry.load(metadata[_ENTRY])
        return entry, array("f", base64.b64decode(metadata[_VECTOR])).tolist(), str(metadata.get(_NAME, entry.id))
    except (ValueError, TypeError, KeyError):
        return None
