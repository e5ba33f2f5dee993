"""The ledger in Postgres (extra ``postgres``)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from costguard_core.errors import MissingExtraError
from costguard_core.ledger.database import Connection, Row, Value

if TYPE_CHECKING:
    import psycopg

_SCHEMA_LOCK = 0x636F7374  # "cost": any number that no other application is likely to lock
_FETCH = 5_000
_FATAL = re.compile(r"FATAL:\s+(.*)")
# What a server says, and what to do about it: https://www.postgresql.org/docs/current/errcodes-appendix.html
_ADVICE = {
    "password authentication failed": " (correct the user or the password in the ledger's URL)",
    "no password supplied": " (put it into the ledger's URL)",
    "does not exist": " (create it, or correct the ledger's URL)",
    "read-only transaction": (
        " (the server is a standby: let the ledger's URL lead to the primary, or name all servers and add "
        "?target_session_attrs=read-write)"
    ),
    "session is read-only": " (none of the servers in the ledger's URL is the primary)",
    "too many clients": " (raise max_connections of the server, or put a pooler in front of it)",
}


class PostgresDatabase:
    """``url`` is a libpq URL. Connecting gives up after 5 s unless the URL says otherwise (``connect_timeout``)."""

    mark = "%s"
    day = "CAST(FLOOR(time / 86400) AS BIGINT)"
    quarter = "CAST(FLOOR(time / 900) AS BIGINT)"
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
        self.url = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Row] | None = None
        self._abandoned: list[object] = []

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            try:
                with self._connection.transaction():
                    yield self._connection
            except self._driver.errors.ReadOnlySqlTransaction:
                self._connection.close()  # it is a standby now: the next attempt may be led to the primary
                raise

    def has_table(self, connection: Connection, name: str) -> bool:
        return connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,)

    def tag(self, name: str) -> str:
        return f"(tags::json ->> '{name}')"

    def lock_schema(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        with self._connect() as connection, connection.transaction(), connection.cursor(name="costguard") as cursor:
            cursor.itersize = _FETCH
            yield from cursor.execute(sql.replace("?", "%s").encode(), values)

    def explain(self, error: Exception) -> str:
        text = str(error)
        for secret in self._hidden:
            text = text.replace(secret, "***")
        # A server that was reached says FATAL; what is in front of it is how it was reached.
        fatal = _FATAL.search(text)
        reason = fatal[1] if fatal else (text.strip().splitlines() or [""])[0]
        advice = next((advice for words, advice in _ADVICE.items() if words in reason), "")
        return f"{type(error).__name__}: {reason}{advice}"

    def is_missing_table(self, error: Exception) -> bool:
        return isinstance(error, self._driver.errors.UndefinedTable)

    def is_already_there(self, error: Exception) -> bool:
        errors = self._driver.errors
        return isinstance(error, (errors.DuplicateTable, errors.DuplicateColumn, errors.DuplicateObject))

    def verify(self, table: str) -> None:
        """Nothing: a server that has committed has written."""

    def find_damage(self) -> str | None:
        """``None``: a server looks after its own files."""
        return None

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

    def _connect(self) -> psycopg.Connection[Row]:
        timeouts = {"connect_timeout": 5, "tcp_user_timeout": 30_000}
        missing: dict[str, Any] = {name: value for name, value in timeouts.items() if name not in self._dsn}
        return self._driver.connect(self._dsn, autocommit=True, application_name="costguard", **missing)


def _secrets(url: str, password: str | None, others: Sequence[str]) -> tuple[str, ...]:
    known = (url, password, unquote(password or ""), *others)
    return tuple(sorted({secret for secret in known if secret}, key=len, reverse=True))
