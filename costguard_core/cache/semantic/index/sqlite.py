"""A SQLite file as the index, which the processes of one machine share.

SQLite keeps the entries and each process compares vectors in its own memory, where it has a copy of the scopes that it
has searched. Each write numbers the rows that it changes, so a search first reads the rows that were changed since the
last one. A deleted entry leaves its row behind, empty, for those who have a copy of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

from costguard_core.cache.semantic.index.base import Entry, Found
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.index.shared import SharedIndex, readable
from costguard_core.util.forks import renew_locks
from costguard_core.util.sqlite_file import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS costguard_semantic (
    cache TEXT NOT NULL, scope TEXT NOT NULL, id TEXT NOT NULL, change INTEGER NOT NULL, entry TEXT, tags TEXT,
    vector BLOB, PRIMARY KEY (cache, scope, id)
);
CREATE INDEX IF NOT EXISTS costguard_semantic_change ON costguard_semantic (cache, change);
CREATE INDEX IF NOT EXISTS costguard_semantic_live ON costguard_semantic (cache, scope, id, tags)
WHERE entry IS NOT NULL;
CREATE INDEX IF NOT EXISTS costguard_semantic_gone ON costguard_semantic (cache, change) WHERE entry IS NULL;
CREATE TABLE IF NOT EXISTS costguard_semantic_cache (
    cache TEXT PRIMARY KEY, changes INTEGER NOT NULL, forgotten INTEGER NOT NULL, state TEXT
);
"""
_LIVE = "FROM costguard_semantic WHERE cache = ? AND scope = ? AND entry IS NOT NULL"
_PUT = """
INSERT OR REPLACE INTO costguard_semantic (cache, scope, id, change, entry, tags, vector) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_REPLACE = """
UPDATE costguard_semantic SET change = ?, entry = ?, tags = ?
WHERE cache = ? AND scope = ? AND id = ? AND entry IS NOT NULL
"""
_DELETE = """
UPDATE costguard_semantic SET change = ?, entry = NULL, tags = NULL, vector = NULL
WHERE cache = ? AND scope = ? AND id = ? AND entry IS NOT NULL
"""
_ONE_CHANGE_MORE = """
INSERT INTO costguard_semantic_cache (cache, changes, forgotten) VALUES (?, 1, 0)
ON CONFLICT (cache) DO UPDATE SET changes = changes + 1
"""
_SAVE = """
INSERT INTO costguard_semantic_cache (cache, changes, forgotten, state) VALUES (?, 0, 0, ?)
ON CONFLICT (cache) DO UPDATE SET state = excluded.state
"""
_PATIENCE = 1.0  # seconds, as of the exact cache
# Writes for which the rows of deleted entries are kept. A process that has not searched for longer reads its scopes
# anew. A choice.
_REMEMBERED = 10_000


class SqliteIndex(SharedIndex):
    """Entries in a SQLite file, which may also be the file of other parts of Costguard.

    Args:
        path: the file, made when missing.
        name: of the cache; others in the same file are not touched.
        timeout: seconds to wait for the file's lock while its holder shows no progress, 1 unless given.
    """

    def __init__(self, path: str | os.PathLike[str], *, name: str = "costguard", timeout: float | None = None) -> None:
        patience = _PATIENCE if timeout is None else timeout
        self._file = SqliteFile(os.fspath(path), _SCHEMA, patience=patience, erasing=True)
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._forget_copies()
        super().__init__(f"sqlite:///{os.fspath(path)}", name=name, timeout=patience, remote=False)

    def _search(self, scope: str, unit: list[float], k: int) -> list[Found]:
        with self._lock:
            self._file.reading(lambda db: self._catch_up(db, scope))
            return self._copies.search(scope, unit, k)

    def _put(self, scope: str, entries: Sequence[Entry], units: Sequence[list[float]]) -> None:
        with self._file.writing() as db:
            change = self._next_change(db)
            rows = zip(entries, units, strict=True)
            db.executemany(
                _PUT,
                [
                    (self._name, scope, one.id, change, one.dump(), _tags(one), array("f", unit).tobytes())
                    for one, unit in rows
                ],
            )

    def _replace(self, scope: str, entry: Entry) -> None:
        with self._file.writing() as db:
            db.execute(_REPLACE, (self._next_change(db), entry.dump(), _tags(entry), self._name, scope, entry.id))

    def _delete(self, scope: str, ids: Sequence[str]) -> None:
        with self._file.writing() as db:
            self._empty(db, [(scope, one) for one in ids])

    def _entries(self, scope: str) -> list[Entry]:
        rows = self._file.rows(f"SELECT entry {_LIVE}", (self._name, scope))
        return [entry for (text,) in rows if (entry := readable(text)) is not None]

    def _count(self, scope: str) -> int:
        return int(self._file.rows(f"SELECT COUNT(*) {_LIVE}", (self._name, scope))[0][0])

    def _scopes(self) -> list[str]:
        query = "SELECT DISTINCT scope FROM costguard_semantic WHERE cache = ? AND entry IS NOT NULL"
        return [scope for (scope,) in self._file.rows(query, (self._name,))]

    def _names(self) -> list[str]:
        return [name for (name,) in self._file.rows("SELECT cache FROM costguard_semantic_cache ORDER BY cache")]

    def _invalidate(self, tags: Sequence[str], *, scrub: bool) -> int:
        """Delete by tags. What is deleted is overwritten in the file in any case; ``scrub`` empties its log, too."""
        wanted = set(tags)
        query = "SELECT scope, id, tags FROM costguard_semantic WHERE cache = ? AND entry IS NOT NULL"
        with self._file.writing() as db:
            found = db.execute(query, (self._name,))
            matching = [(scope, one) for scope, one, text in found if wanted <= set(json.loads(text))]
            self._empty(db, matching)
        if scrub:
            with self._lock:
                self._forget_copies()
            self._file.empty_log()
        return len(matching)

    def _clear(self) -> None:
        query = "SELECT scope, id FROM costguard_semantic WHERE cache = ? AND entry IS NOT NULL"
        with self._file.writing() as db:
            self._empty(db, db.execute(query, (self._name,)).fetchall())

    def _load_state(self) -> str | None:
        rows = self._file.rows("SELECT state FROM costguard_semantic_cache WHERE cache = ?", (self._name,))
        return rows[0][0] if rows else None

    def _save_state(self, state: str) -> None:
        with self._file.writing() as db:
            db.execute(_SAVE, (self._name, state))

    def _disconnect(self) -> None:
        self._file.close()

    def _forget(self) -> None:
        """A forked child opens the file anew by itself, and its copies are as good as its parent's."""

    def _next_change(self, db: sqlite3.Connection) -> int:
        db.execute(_ONE_CHANGE_MORE, (self._name,))
        query = "SELECT changes FROM costguard_semantic_cache WHERE cache = ?"
        return int(db.execute(query, (self._name,)).fetchone()[0])

    def _empty(self, db: sqlite3.Connection, entries: Iterable[tuple[str, str]]) -> None:
        """Delete entries, and the rows of those that were deleted long ago."""
        change = self._next_change(db)
        db.executemany(_DELETE, [(change, self._name, scope, one) for scope, one in entries])
        old = (self._name, change - _REMEMBERED)
        if db.execute("DELETE FROM costguard_semantic WHERE cache = ? AND entry IS NULL AND change <= ?", old).rowcount:
            query = "UPDATE costguard_semantic_cache SET forgotten = ? WHERE cache = ?"
            db.execute(query, (change - _REMEMBERED, self._name))

    def _forget_copies(self) -> None:
        self._copies, self._copied, self._changes = MemoryIndex(), set[str](), 0

    def _catch_up(self, db: sqlite3.Connection, scope: str) -> None:
        """Bring the copies up to date, and make one of ``scope``."""
        query = "SELECT changes, forgotten FROM costguard_semantic_cache WHERE cache = ?"
        changes, forgotten = db.execute(query, (self._name,)).fetchone() or (0, 0)
        if not forgotten <= self._changes <= changes:  # too long ago, or of a file that was replaced
            self._forget_copies()
        if self._copied and changes != self._changes:
            query = "SELECT scope, id, entry, vector FROM costguard_semantic WHERE cache = ? AND change > ?"
            for changed, one, text, vector in db.execute(query, (self._name, self._changes)).fetchall():
                if changed in self._copied:
                    self._copies.delete(changed, [one])
                    self._copies.put_units(changed, _read([(text, vector)]))
        self._changes = changes
        if scope not in self._copied:
            rows = db.execute(f"SELECT entry, vector {_LIVE}", (self._name, scope)).fetchall()
            self._copies.put_units(scope, _read(rows))
            self._copied.add(scope)


def _tags(entry: Entry) -> str:
    return json.dumps(entry.tags)


def _read(rows: Iterable[tuple[str | None, bytes | None]]) -> Iterator[tuple[Entry, array[float]]]:
    for text, vector in rows:
        entry = readable(text)
        if entry is not None and vector is not None:
            yield entry, array("f", vector)
