"""Writing to an index in the background: Chroma waits for the disk at each write, and no caller should.

What waits is found at once by this process, because a search also looks through an index in memory that holds it. All
that changes or lists entries first waits until the queue is written, so that it reaches those entries, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Full
from threading import Lock, get_ident

from costguard_core.cache.semantic.index.base import BatchIndex, Entry, Found, Index, IndexUnavailable, Vector
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.util.batch_worker import BatchWorker
from costguard_core.util.forks import renew_locks

# Choices. Chroma takes little longer for a hundred entries than for one.
_MAX_WAITING, _BATCH, _INTERVAL = 1000, 100, 0.02
_CLOSE_SECONDS = 60.0
_BARRIER_SECONDS = 15.0  # a Chroma server that hangs is given up after ten

_Key = tuple[str, str]  # scope and id
Lost = Callable[[int, Exception], None]


class WriteBehindIndex:
    """Another index, and a queue of at most 1,000 entries that are to be written to it.

    :meth:`put_later` queues; every other method is the index's own. A forked child starts with an empty queue: its
    parent writes what was in it. What waits is written when the cache is closed and when the process ends.

    Args:
        inner: where entries are kept. It is written to by one thread of this process at a time: of two that erase at
            once, one could put back what the other erased, and Chroma's folder would be damaged.
        on_lost: told how many queued entries could not be written, and why.
    """

    def __init__(self, inner: Index, *, on_lost: Lost | None = None) -> None:
        self.inner, self.url, self.on_lost = inner, inner.url, on_lost
        self._lock, self._writing = Lock(), Lock()  # of what waits; of writes to the index, which may take long
        renew_locks(self, "_lock", "_writing")
        self._reset()
        self._worker: BatchWorker[_Key | Callable[[], object]] = BatchWorker(
            self._handle,
            name="costguard-semantic-index",
            interval=_INTERVAL,
            batch=_BATCH,
            capacity=2 * _MAX_WAITING,  # each entry may bring work with it
            patience=0,
            retry=False,
            on_fork=self._reset,
        )

    def _reset(self) -> None:
        self._waiting: dict[_Key, tuple[Entry, Vector]] = {}
        self._in_flight: set[_Key] = set()
        self._overlay = MemoryIndex()
        self._writer: int | None = None  # the thread that is writing

    # Queueing

    def put_later(self, scope: str, entry: Entry, vector: Vector) -> None:
        """Store an entry in the background; this process finds it at once.

        Raises:
            Full: too many are waiting, or the index is closed.
        """
        key = (scope, entry.id)
        with self._lock:
            if len(self._waiting) >= _MAX_WAITING:
                raise Full
            self._overlay.put(scope, entry, vector)
            self._waiting[key] = (entry, vector)
        if not self._worker.put(key):
            self._forget([key])
            raise Full

    def later(self, work: Callable[[], object]) -> None:
        """Do this after what was queued before has been written; nothing where too much is queued. It must not raise,
        and may use the index."""
        self._worker.put(work)

    # Reading

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        waiting = self._overlay.search(scope, vector, k)  # first: what is written meanwhile is in both
        return _merged(waiting, self.inner.search(scope, vector, k), k)

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        """:meth:`search` for an event loop."""
        waiting = self._overlay.search(scope, vector, k)
        return _merged(waiting, await self.inner.asearch(scope, vector, k), k)

    def entries(self, scope: str) -> list[Entry]:
        self.wait()
        return self.inner.entries(scope)

    def count(self, scope: str) -> int:
        self.wait()
        return self.inner.count(scope)

    def scopes(self) -> list[str]:
        self.wait()
        return self.inner.scopes()

    # Writing at once

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        self.wait()
        with self._writing:
            self.inner.put(scope, entry, vector)

    def replace(self, scope: str, entry: Entry) -> None:
        key = (scope, entry.id)
        with self._lock:
            found = self._waiting.get(key)
            if found is not None:  # so that it is written as it is now, whatever happens next
                self._waiting[key] = (entry, found[1])
                self._overlay.replace(scope, entry)
        if found is not None:
            self._worker.put(key)
        self.wait()
        with self._writing:
            self.inner.replace(scope, entry)

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        self._forget([(scope, one) for one in ids])
        self.wait()
        with self._writing:
            self.inner.delete(scope, ids)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        with self._lock:
            keys = [key for key, (entry, _) in self._waiting.items() if set(tags) <= set(entry.tags)]
            unwritten = sum(key not in self._in_flight for key in keys)
            self._remove(keys)
        self.wait()
        with self._writing:
            return unwritten + self.inner.invalidate(tags, scrub=scrub)

    def clear(self) -> None:
        with self._lock:
            self._remove(list(self._waiting))
        self.wait()
        with self._writing:
            self.inner.clear()

    def load_state(self) -> str | None:
        return self.inner.load_state()

    def save_state(self, state: str) -> None:
        with self._writing:
            self.inner.save_state(state)

    def wait(self) -> None:
        """Until what was queued before this is written.

        Raises:
            IndexUnavailable: it took too long.
        """
        if self._writer != get_ident() and not self._worker.flush(_BARRIER_SECONDS):
            raise IndexUnavailable("entries still wait to be written")

    def close(self) -> None:
        """Write what waits, for at most a minute, and close the index."""
        self._worker.close(_CLOSE_SECONDS)
        with self._lock:
            left = len(self._waiting)
        if left:
            self._tell(left, TimeoutError())
        self.inner.close()

    # Inside

    def _handle(self, batch: list[_Key | Callable[[], object]]) -> None:
        self._writer = get_ident()
        try:
            self._write(dict.fromkeys(item for item in batch if not callable(item)))
            for item in batch:
                if callable(item):
                    item()
        finally:
            self._writer = None

    def _write(self, keys: dict[_Key, None]) -> None:
        scopes: dict[str, list[tuple[Entry, Vector]]] = {}
        with self._lock:
            for scope, name in keys:
                row = self._waiting.get((scope, name))
                if row is not None:
                    scopes.setdefault(scope, []).append(row)
                    self._in_flight.add((scope, name))
        for scope, rows in scopes.items():
            written = 0
            try:
                with self._writing:
                    for part in [rows] if isinstance(self.inner, BatchIndex) else [[row] for row in rows]:
                        put_all(self.inner, scope, part)
                        written += len(part)
            except Exception as error:
                self._tell(len(rows) - written, error)
            self._forget([(scope, row[0].id) for row in rows], rows)
        self._in_flight = set()

    def _tell(self, lost: int, error: Exception) -> None:
        if self.on_lost is not None:
            self.on_lost(lost, error)

    def _forget(self, keys: Sequence[_Key], rows: Sequence[tuple[Entry, Vector]] | None = None) -> None:
        """These wait no longer; with ``rows`` only where they are still the same, and no newer ones."""
        with self._lock:
            same = [key for place, key in enumerate(keys) if rows is None or self._waiting.get(key) is rows[place]]
            self._remove(same)

    def _remove(self, keys: Sequence[_Key]) -> None:
        for scope, name in keys:
            self._waiting.pop((scope, name), None)
            self._overlay.delete(scope, [name])


def in_background(index: Index) -> Index:
    """The index with its writes in the background, where they take time."""
    return index if isinstance(index, MemoryIndex | WriteBehindIndex) else WriteBehindIndex(index)


def put_all(index: Index, scope: str, rows: Sequence[tuple[Entry, Vector]]) -> None:
    """Store entries of one scope, in one write where the index can."""
    if isinstance(index, BatchIndex):
        index.put_many(scope, [entry for entry, _ in rows], [vector for _, vector in rows])
    else:
        for entry, vector in rows:
            index.put(scope, entry, vector)


def _merged(waiting: list[Found], written: list[Found], k: int) -> list[Found]:
    if not waiting:
        return written
    newer = {one.entry.id for one in waiting}
    both = [*waiting, *(one for one in written if one.entry.id not in newer)]
    return sorted(both, key=lambda one: -one.similarity)[:k]
