"""What indexes that several processes share have in common: a name for each cache, searches in time, a pause after
failures.

The server, or the file, holds everything, so that every process that names the same cache lists, refutes, invalidates
and erases what others stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from costguard_core.cache.semantic.index.base import Entry, Found, Vector, normalised
from costguard_core.cache.semantic.index.calls import IndexCalls

T = TypeVar("T")

PAGE = 500  # rows read or written at once; a choice


class SharedIndex(ABC):
    """Entries on a server, or in a file.

    Args:
        url: printable, without credentials.
        name: of the cache; others at the same place are not touched.
        timeout: seconds that a search on a server may take.
        remote: a server, which may hang.
    """

    def __init__(self, url: str, *, name: str, timeout: float, remote: bool = True) -> None:
        self.url, self._name = url, name
        self._calls = IndexCalls(timeout=timeout, remote=remote, on_failure=self._disconnect, on_fork=self._forget)

    # What a server or file must be able to do; vectors have length one

    @abstractmethod
    def _search(self, scope: str, unit: list[float], k: int) -> list[Found]: ...
    @abstractmethod
    def _put(self, scope: str, entries: Sequence[Entry], units: Sequence[list[float]]) -> None: ...
    @abstractmethod
    def _replace(self, scope: str, entry: Entry) -> None: ...
    @abstractmethod
    def _delete(self, scope: str, ids: Sequence[str]) -> None: ...
    @abstractmethod
    def _entries(self, scope: str) -> list[Entry]: ...
    @abstractmethod
    def _count(self, scope: str) -> int: ...
    @abstractmethod
    def _scopes(self) -> list[str]: ...
    @abstractmethod
    def _invalidate(self, tags: Sequence[str], *, scrub: bool) -> int: ...
    @abstractmethod
    def _clear(self) -> None: ...
    @abstractmethod
    def _load_state(self) -> str | None: ...
    @abstractmethod
    def _save_state(self, state: str) -> None: ...
    @abstractmethod
    def _names(self) -> list[str]: ...
    @abstractmethod
    def _disconnect(self) -> None:
        """Close connections; the next use opens others. It must not raise."""

    @abstractmethod
    def _forget(self) -> None:
        """In a forked child: use other connections, and leave the parent's open."""

    # The index

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        unit = normalised(vector)
        return self._calls.run_in_time(lambda: self._attempt(lambda: self._search(scope, unit, k)))

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        """:meth:`search` for an event loop."""
        unit = normalised(vector)
        return await self._calls.arun_in_time(lambda: self._attempt(lambda: self._search(scope, unit, k)))

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        self.put_many(scope, [entry], [vector])

    def put_many(self, scope: str, entries: Sequence[Entry], vectors: Sequence[Vector]) -> None:
        """Several entries in one write, which takes little longer than one."""
        units = [normalised(vector) for vector in vectors]
        self._run_now(lambda: self._put(scope, entries, units))

    def replace(self, scope: str, entry: Entry) -> None:
        self._run_now(lambda: self._replace(scope, entry))

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), PAGE):
            self._run_now(lambda page=list(ids[start : start + PAGE]): self._delete(scope, page))  # type: ignore[misc]

    def entries(self, scope: str) -> list[Entry]:
        return self._run_now(lambda: self._entries(scope))

    def count(self, scope: str) -> int:
        return self._run_now(lambda: self._count(scope))

    def scopes(self) -> list[str]:
        return self._run_now(self._scopes)

    def names(self) -> list[str]:
        """The names of all caches at this place that hold or have learned something: one for each namespace and
        embedding model."""
        return self._run_now(self._names)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        """Delete by tags. What ``scrub`` can do beyond that depends on the kind of index (docs/semantic.md)."""
        return self._run_now(lambda: self._invalidate(tags, scrub=scrub))

    def clear(self) -> None:
        self._run_now(self._clear)

    def load_state(self) -> str | None:
        return self._run_now(self._load_state)

    def save_state(self, state: str) -> None:
        self._run_now(lambda: self._save_state(state))

    def _run_now(self, work: Callable[[], T]) -> T:
        return self._calls.run(lambda: self._attempt(work))

    def _attempt(self, work: Callable[[], T]) -> T:
        """``work``, and what else the index needs around it."""
        return work()

    def close(self) -> None:
        self._calls.close()
        self._disconnect()


def readable(text: str | bytes | None) -> Entry | None:
    """A stored entry; ``None`` if there is none, or it is another release's."""
    try:
        return None if text is None else Entry.load(text if isinstance(text, str) else text.decode())
    except (ValueError, TypeError, KeyError):
        return None
