"""A cache in one SQLite file that several processes share."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from costguard_core.cache.exact.stores.base import DECLINED, DECLINED_SECONDS, LocalStore, StoreStats, bind, unbind
from costguard_core.util.sqlite_file import SqliteFile
from costguard_core.util.sqlite_lock import is_busy

_SCHEMA = """
CREATE TABLE IF NOT EXISTS costguard_cache (
    ns TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires REAL, written REAL NOT NULL, PRIMARY KEY (ns, key)
);
CREATE INDEX IF NOT EXISTS costguard_cache_written ON costguard_cache (ns, written);
CREATE TABLE IF NOT EXISTS costguard_cache_tag (
    ns TEXT NOT NULL, tag TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (ns, tag, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS costguard_cache_tag_key ON costguard_cache_tag (ns, key);
CREATE TABLE IF NOT EXISTS costguard_cache_lease (
    ns TEXT NOT NULL, key TEXT NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL, PRIMARY KEY (ns, key)
) WITHOUT ROWID;
"""
_GET = "SELECT value, expires FROM costguard_cache WHERE ns = ? AND key = ?"
_PUT = "INSERT OR REPLACE INTO costguard_cache (ns, key, value, expires, written) VALUES (?, ?, ?, ?, ?)"
_LEASE = """
INSERT INTO costguard_cache_lease (ns, key, owner, expires) VALUES (:ns, :key, :owner, :until)
ON CONFLICT (ns, key) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
WHERE expires <= :now OR owner = excluded.owner
"""
# Counting rows costs a scan, so the bound is enforced once per so many writes.
_PRUNE_EVERY = 256
# Seconds to wait for the file's lock while its holder shows no progress. Longer than the counters do: who gives up on a
# lease pays for an answer that somebody else is paying for.
_PATIENCE = 1.0


class SQLiteStore(LocalStore):
    """Answers in the file ``path`` (or ``:memory:`` for tests).

    Args:
        path: the file; made when missing.
        namespace: entries of others in the same file are not seen.
        max_entries: when there are more, the oldest go first.
        timeout: seconds to wait for the file's lock while its holder shows no progress, 1 unless given.
        clock: unix seconds.
    """

    shared = True

    def __init__(
        self,
        path: str,
        *,
        namespace: str = "costguard",
        max_entries: int = 100_000,
        timeout: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = f"sqlite:///{path}"
        self._ns, self._max_entries, self._clock = namespace, max_entries, clock
        self._file = SqliteFile(path, _SCHEMA, patience=_PATIENCE if timeout is None else timeout)
        self._writes = 0

    def get(self, key: str) -> bytes | None:
        return self._value(key, self._file.rows(_GET, (self._ns, key)))

    async def aget(self, key: str) -> bytes | None:
        """In place, unless the file has to be opened, or is locked: both may take a while."""
        if self._file.is_open:
            try:
                return self._value(key, self._file.rows_at_once(_GET, (self._ns, key)))
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
        return await asyncio.to_thread(self.get, key)

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        now = self._clock()
        with self._file.writing() as db:
            db.execute(_PUT, (self._ns, key, bind(self._ns, key, value), None if ttl is None else now + ttl, now))
            db.execute("DELETE FROM costguard_cache_tag WHERE ns = ? AND key = ?", (self._ns, key))
            db.executemany(
                "INSERT OR IGNORE INTO costguard_cache_tag (ns, tag, key) VALUES (?, ?, ?)",
                [(self._ns, tag, key) for tag in tags],
            )
            self._writes += 1
            if self._writes % _PRUNE_EVERY == 0:
                self._prune(db, now)

    def delete(self, key: str) -> None:
        with self._file.writing() as db:
            self._delete(db, [key])

    def invalidate(self, tags: Sequence[str]) -> int:
        names = sorted(set(tags))
        marks = ", ".join("?" * len(names))
        query = (
            f"SELECT key FROM costguard_cache_tag WHERE ns = ? AND tag IN ({marks}) GROUP BY key HAVING COUNT(*) = ?"
        )
        with self._file.writing() as db:
            keys = [row[0] for row in db.execute(query, (self._ns, *names, len(names)))]
            self._delete(db, keys)
        return len(keys)

    def clear(self) -> None:
        with self._file.writing() as db:
            for table in ("costguard_cache", "costguard_cache_tag", "costguard_cache_lease"):
                db.execute(f"DELETE FROM {table} WHERE ns = ?", (self._ns,))

    def stats(self) -> StoreStats:
        query = "SELECT COUNT(*), COALESCE(SUM(LENGTH(value)), 0) FROM costguard_cache WHERE ns = ?"
        return StoreStats(*self._file.rows(query, (self._ns,))[0])

    def lease(self, key: str, owner: str, ttl: float) -> str:
        now = self._clock()
        values = {"ns": self._ns, "key": key, "owner": owner, "until": now + ttl, "now": now}
        with self._file.writing() as db:
            db.execute(_LEASE, values)
            query = "SELECT owner FROM costguard_cache_lease WHERE ns = ? AND key = ?"
            return str(db.execute(query, (self._ns, key)).fetchone()[0])

    def unlease(self, key: str, owner: str, *, declined: bool = False) -> None:
        mine = (self._ns, key, owner)
        with self._file.writing() as db:
            if declined:
                query = "UPDATE costguard_cache_lease SET owner = ?, expires = ? WHERE ns = ? AND key = ? AND owner = ?"
                db.execute(query, (DECLINED, self._clock() + DECLINED_SECONDS, *mine))
            else:
                db.execute("DELETE FROM costguard_cache_lease WHERE ns = ? AND key = ? AND owner = ?", mine)

    def close(self) -> None:
        self._file.close()

    def _value(self, key: str, found: list[Any]) -> bytes | None:
        if not found or (found[0][1] is not None and found[0][1] <= self._clock()):
            return None
        value = found[0][0]
        return unbind(self._ns, key, value if isinstance(value, bytes) else str(value).encode())

    def _delete(self, db: sqlite3.Connection, keys: Sequence[str]) -> None:
        pairs = [(self._ns, key) for key in keys]
        db.executemany("DELETE FROM costguard_cache WHERE ns = ? AND key = ?", pairs)
        db.executemany("DELETE FROM costguard_cache_tag WHERE ns = ? AND key = ?", pairs)

    def _prune(self, db: sqlite3.Connection, now: float) -> None:
        query = """
            SELECT key FROM costguard_cache WHERE ns = :ns AND expires <= :now
            UNION SELECT key FROM (
                SELECT key FROM costguard_cache WHERE ns = :ns ORDER BY written DESC LIMIT -1 OFFSET :keep
            )
        """
        found = db.execute(query, {"ns": self._ns, "now": now, "keep": self._max_entries}).fetchall()
        self._delete(db, [row[0] for row in found])
        db.execute("DELETE FROM costguard_cache_lease WHERE ns = ? AND expires <= ?", (self._ns, now))
