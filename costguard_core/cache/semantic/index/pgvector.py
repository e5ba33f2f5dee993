"""Postgres with the extension ``vector`` (https://github.com/pgvector/pgvector) as the index.

All caches share one table. A search compares with every entry of its scope, exactly and without a vector index: such an
index covers all scopes, and a condition on one of them makes it miss neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from costguard_core.cache.semantic.index.base import Entry, Found
from costguard_core.cache.semantic.index.shared import SharedIndex, readable
from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.util.forks import renew_locks
from costguard_core.util.urls import printable, split

if TYPE_CHECKING:
    import psycopg

_TABLE, _STATE = "costguard_semantic", "costguard_semantic_state"
_SCHEMA_LOCK = 0x636F7376  # "cos" and a letter: any that no other application is likely to lock
_CONNECT_SECONDS = 2  # the least that libpq takes
_MAX_ANSWER_SECONDS = 10  # a server that hangs must not hold a thread for ever; a choice
_MAX_REWRITE_SECONDS = 600  # for writing the table anew, which takes its time; a choice
_MAX_IDLE = 8  # connections kept for the next call; a choice
_SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS {_TABLE} (cache text, scope text, id text, entry text NOT NULL, tags text[] NOT NULL,
    vector vector NOT NULL, PRIMARY KEY (cache, scope, id))""",
    f"CREATE INDEX IF NOT EXISTS {_TABLE}_tags ON {_TABLE} USING gin (tags)",
    f"CREATE TABLE IF NOT EXISTS {_STATE} (cache text PRIMARY KEY, state text NOT NULL)",
)


class PgvectorIndex(SharedIndex):
    """Entries in Postgres.

    Args:
        url: ``postgresql://user:password@host/database``.
        name: of the cache.
        timeout: seconds that a search may take.

    Raises:
        MissingExtraError: the extra ``postgres`` is not installed.
    """

    def __init__(self, url: str, *, name: str = "costguard", timeout: float = 0.1) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise MissingExtraError("the semantic cache's index (pgvector)", "postgres") from None
        self._dsn = url
        self._given = parse_qs(split(url).query)
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._idle: list[psycopg.Connection[Any]] = []
        self._parents: list[psycopg.Connection[Any]] = []
        self._made = False
        super().__init__(printable(url), name=name, timeout=timeout)

    def _search(self, scope: str, unit: list[float], k: int) -> list[Found]:
        # `<#>` is the inner product, negated; https://github.com/pgvector/pgvector#querying
        query = (
            f"SELECT entry, -(vector <#> %s::vector) FROM {_TABLE} WHERE cache = %s AND scope = %s "
            "ORDER BY vector <#> %s::vector LIMIT %s"
        )
        text = _text(unit)
        rows = self._all(query, (text, self._name, scope, text, k))
        return [Found(entry, float(cosine)) for row, cosine in rows if (entry := readable(row)) is not None]

    def _put(self, scope: str, entries: Sequence[Entry], units: Sequence[list[float]]) -> None:
        query = (
            f"INSERT INTO {_TABLE} (cache, scope, id, entry, tags, vector) VALUES (%s, %s, %s, %s, %s, %s::vector) "
            "ON CONFLICT (cache, scope, id) DO UPDATE "
            "SET entry = excluded.entry, tags = excluded.tags, vector = excluded.vector"
        )
        # Always in one order: two writers that lock the same rows in two would wait for each other.
        rows = sorted(zip(entries, units, strict=True), key=lambda row: row[0].id)
        with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(
                query,
                [(self._name, scope, one.id, one.dump(), _tags(one.tags), _text(unit)) for one, unit in rows],
            )

    def _replace(self, scope: str, entry: Entry) -> None:
        query = f"UPDATE {_TABLE} SET entry = %s, tags = %s WHERE cache = %s AND scope = %s AND id = %s"
        self._run(query, (entry.dump(), _tags(entry.tags), self._name, scope, entry.id))

    def _delete(self, scope: str, ids: Sequence[str]) -> None:
        query = f"DELETE FROM {_TABLE} WHERE cache = %s AND scope = %s AND id = ANY(%s)"
        self._run(query, (self._name, scope, list(ids)))

    def _entries(self, scope: str) -> list[Entry]:
        rows = self._all(f"SELECT entry FROM {_TABLE} WHERE cache = %s AND scope = %s", (self._name, scope))
        return [entry for (row,) in rows if (entry := readable(row)) is not None]

    def _count(self, scope: str) -> int:
        query = f"SELECT COUNT(*) FROM {_TABLE} WHERE cache = %s AND scope = %s"
        return int(self._all(query, (self._name, scope))[0][0])

    def _scopes(self) -> list[str]:
        return [scope for (scope,) in self._all(f"SELECT DISTINCT scope FROM {_TABLE} WHERE cache = %s", (self._name,))]

    def _names(self) -> list[str]:
        query = f"SELECT cache FROM {_TABLE} UNION SELECT cache FROM {_STATE} ORDER BY cache"
        return [name for (name,) in self._all(query, ())]

    def _invalidate(self, tags: Sequence[str], *, scrub: bool) -> int:
        query = f"DELETE FROM {_TABLE} WHERE cache = %s AND tags @> %s::text[]"
        removed = self._run(query, (self._name, _tags(tags)))
        if scrub:
            with self._connection() as connection:
                _limit(connection, _MAX_REWRITE_SECONDS)
                connection.execute(f"VACUUM (FULL) {_TABLE}".encode())
                _limit(connection, _MAX_ANSWER_SECONDS)
        return removed

    def _clear(self) -> None:
        self._run(f"DELETE FROM {_TABLE} WHERE cache = %s", (self._name,))

    def _load_state(self) -> str | None:
        rows = self._all(f"SELECT state FROM {_STATE} WHERE cache = %s", (self._name,))
        return str(rows[0][0]) if rows else None

    def _save_state(self, state: str) -> None:
        query = f"INSERT INTO {_STATE} VALUES (%s, %s) ON CONFLICT (cache) DO UPDATE SET state = excluded.state"
        self._run(query, (self._name, state))

    # Connections

    def _all(self, query: str, values: tuple[object, ...]) -> list[Any]:
        with self._connection() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def _run(self, query: str, values: tuple[object, ...]) -> int:
        with self._connection() as connection:
            return connection.execute(query.encode(), values).rowcount

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._lock:
            found = self._idle.pop() if self._idle else None
        if found is None:
            found = self._connect()
        try:
            yield found
        except BaseException:
            found.close()
            raise
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(found)
                return
        found.close()

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        more: dict[str, Any] = {} if "connect_timeout" in self._given else {"connect_timeout": _CONNECT_SECONDS}
        made = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None, **more)
        try:
            _limit(made, _MAX_ANSWER_SECONDS)
            if not self._made:
                self._make_tables(made)
                self._made = True
        except BaseException:
            made.close()
            raise
        return made

    def _make_tables(self, connection: psycopg.Connection[Any]) -> None:
        import psycopg

        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            try:
                if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
                    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
                raise ConfigurationError(
                    f"{self.url} does not have the extension pgvector: install it on the server"
                ) from None
            except psycopg.errors.InsufficientPrivilege:
                raise ConfigurationError(
                    f"{self.url}: this user may not make the extension pgvector; as an administrator, run "
                    "CREATE EXTENSION vector"
                ) from None
            for statement in _SCHEMA:
                connection.execute(statement.encode())

    def _disconnect(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(Exception):
                connection.close()

    def _forget(self) -> None:
        # Kept, because an end said on a shared socket would end the parent's session.
        self._parents += self._idle
        self._idle = []


def _limit(connection: psycopg.Connection[Any], seconds: int) -> None:
    """How long a statement may take."""
    connection.execute(f"SET statement_timeout = {1000 * seconds}".encode())


def _text(unit: Sequence[float]) -> str:
    return f"[{','.join(map(repr, unit))}]"


def _tags(tags: Sequence[str]) -> list[str]:
    """Tags as JSON, because a text in Postgres cannot hold every character."""
    return [json.dumps(tag) for tag in tags]
