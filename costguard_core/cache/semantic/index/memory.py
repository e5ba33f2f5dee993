"""An index in this process."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from heapq import nlargest
from importlib.util import find_spec
from operator import mul
from threading import Lock

from costguard_core.cache.semantic.index.base import Entry, Found, Vector, normalised
from costguard_core.cache.semantic.index.vector_rows import VectorRows
from costguard_core.util.forks import renew_locks

_HAS_NUMPY = find_spec("numpy") is not None


class _Rows:
    """The entries of one scope, and their vectors at length one."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._vectors: dict[str, array[float]] = {}
        self._matrix = VectorRows() if _HAS_NUMPY else None

    def put(self, entry: Entry, unit: Sequence[float]) -> None:
        self.entries[entry.id], self._vectors[entry.id] = entry, array("f", unit)
        if self._matrix is not None:
            self._matrix.put(entry.id, self._vectors[entry.id])

    def delete(self, ids: Sequence[str]) -> None:
        for one in ids:
            self.entries.pop(one, None)
            self._vectors.pop(one, None)
            if self._matrix is not None:
                self._matrix.delete(one)

    def nearest(self, unit: list[float], k: int) -> list[Found]:
        """The ``k`` entries whose vectors, of as many numbers as ``unit``, are nearest, nearest first."""
        if self._matrix is not None and self._matrix.holds_only(len(unit)):
            return [Found(self.entries[one], cosine) for cosine, one in self._matrix.nearest(unit, k)]
        alike = {one: vector for one, vector in self._vectors.items() if len(vector) == len(unit)}
        cosines = ((sum(map(mul, unit, vector)), one) for one, vector in alike.items())
        return [Found(self.entries[one], cosine) for cosine, one in nlargest(k, cosines)]


class MemoryIndex:
    """An index in this process, gone when it ends: what is asked is compared with every entry of the scope.

    Where NumPy is installed, scopes of 4,096 entries and more are first narrowed down (:class:`VectorRows`). Elsewhere
    10,000 entries of 256 numbers take some hundred milliseconds.
    """

    url = "memory://"

    def __init__(self) -> None:
        self._scopes: dict[str, _Rows] = {}
        self._state: str | None = None
        self._lock = Lock()
        renew_locks(self, "_lock")

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        unit = normalised(vector)
        with self._lock:
            rows = self._scopes.get(scope)
            return [] if rows is None else rows.nearest(unit, k)

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        return self.search(scope, vector, k)

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        with self._lock:
            self._scopes.setdefault(scope, _Rows()).put(entry, normalised(vector))

    def put_units(self, scope: str, entries: Iterable[tuple[Entry, Vector]]) -> None:
        """Store entries whose vectors have length one."""
        with self._lock:
            for entry, unit in entries:
                self._scopes.setdefault(scope, _Rows()).put(entry, unit)

    def replace(self, scope: str, entry: Entry) -> None:
        with self._lock:
            rows = self._scopes.get(scope)
            if rows is not None and entry.id in rows.entries:
                rows.entries[entry.id] = entry

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        with self._lock:
            rows = self._scopes.get(scope)
            if rows is not None:
                rows.delete(ids)
                if not rows.entries:
                    del self._scopes[scope]

    def entries(self, scope: str) -> list[Entry]:
        with self._lock:
            rows = self._scopes.get(scope)
            return [] if rows is None else list(rows.entries.values())

    def count(self, scope: str) -> int:
        rows = self._scopes.get(scope)
        return 0 if rows is None else len(rows.entries)

    def scopes(self) -> list[str]:
        return list(self._scopes)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        wanted, removed = set(tags), 0
        for scope in self.scopes():
            matching = [entry.id for entry in self.entries(scope) if wanted <= set(entry.tags)]
            self.delete(scope, matching)
            removed += len(matching)
        return removed

    def clear(self) -> None:
        with self._lock:
            self._scopes.clear()

    def load_state(self) -> str | None:
        return self._state

    def save_state(self, state: str) -> None:
        self._state = state

    def close(self) -> None:
        pass
