"""Entries as documents in the vector stores of a framework: what is common to all of them."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from costguard_core.cache.semantic.index.base import Entry, Found, Vector, normalised

_ENTRY, _VECTOR = "costguard_entry", "costguard_vector"
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
            self._delete(scope, [entry.id])
        self._add(scope, entry.id, entry.question, list(vector), _pack(entry, vector))
        self._seen.setdefault(scope, {})[entry.id] = entry

    def replace(self, scope: str, entry: Entry) -> None:
        for row in filter(None, map(_unpack, self._get(scope, entry.id))):
            if row[0].id == entry.id:
                self.put(scope, entry, row[1])

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        if ids:
            self._delete(scope, list(ids))
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

    def _found(self, scope: str, vector: Vector, documents: Sequence[Metadata]) -> list[Found]:
        query, found = normalised(vector), []
        for entry, known in filter(None, map(_unpack, documents)):
            self._seen.setdefault(scope, {})[entry.id] = entry
            found.append(Found(entry, sum(x * y for x, y in zip(query, known, strict=True))))
        return sorted(found, key=lambda one: -one.similarity)


def _pack(entry: Entry, vector: Vector) -> dict[str, str]:
    numbers = array("f", normalised(vector)).tobytes()
    return {_ENTRY: entry.dump(), _VECTOR: base64.b64encode(numbers).decode()}


def _unpack(metadata: Metadata) -> tuple[Entry, list[float]] | None:
    """An entry and its vector; ``None`` for somebody else's document, or another release's."""
    try:
        entry = Entry.load(metadata[_ENTRY])
        return entry, array("f", base64.b64decode(metadata[_VECTOR])).tolist()
    except (ValueError, TypeError, KeyError):
        return None
