"""The ledger in Postgres (extra ``postgres``)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from costguard_core.errors import MissingExtraError
from costguard_core.ledger.database import Connection

if TYPE_CHECKING:
    import psycopg

_SCHEMA_LOCK = 0x636F7374  # "cost": any number that no other application is likely to lock
_FETCH = 5_000


class PostgresDatabase:
    """``url`` is a libpq URL. Connecting gives up after 5 s unless the URL says otherwise (``connect_timeout``)."""

    mark = "%s"
    day = "CAST(FLOOR(time / 86400) AS BIGINT)"
    find = "strpos"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtraError("a ledger in Postgres", "postgres") from None
        self._driver = psycopg
        self.error: type[Exception] = psycopg.Error
        self.row_faults: tuple[type[Exception], ...] = (
            psycopg.DataError,
            psycopg.IntegrityError,
            OverflowError,
            UnicodeError,
        )
        self._dsn = url
        parts = urlsplit(url)
        self._hidden = _secrets(url, parts.password, parse_qs(parts.query).get("password", []))
        self.url = f"postgresql://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._abandoned: list[object] = []

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            with self._connection.transaction():
                yield self._connection

    def lock_schema(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with self._connect() as connection, connection.transaction(), connection.cursor(name="costguard") as cursor:
            cursor.itersize = _FETCH
            yield from cursor.execute(sql.replace("?", "%s").encode(), values)

    def explain(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}"
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text.splitlines()[0]

    def is_setup_fault(self, error: Exception) -> bool:
        return isinstance(error, (self._driver.ProgrammingError, self._driver.NotSupportedError))

    def abandon(self) -> None:
        self._abandoned.append(self._connection)
        self._connection, self._lock = None, threading.RLock()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        timeouts = {"connect_timeout": 5, "tcp_user_timeout": 30_000}
        missing: dict[str, Any] = {name: value for name, value in timeouts.items() if name not in self._dsn}
        return self._driver.connect(self._dsn, autocommit=True, application_name="costguard", **missing)


def _secrets(url: str, password: str | None, others: Sequence[str]) -> tuple[str, ...]:
    known = (url, password, unquote(password or ""), *others)
    return tuple(sorted({secret for secret in known if secret}, key=len, reverse=True))
