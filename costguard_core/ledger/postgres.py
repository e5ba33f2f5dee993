"""The ledger in Postgres (extra ``postgres``)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from costguard_core.errors import MissingExtraError
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Connection, Reader, Row, Value, insert_all
from costguard_core.ledger.months import month_start, next_month

if TYPE_CHECKING:
    import psycopg

# "cost" and the number after it: any that no other application is likely to lock.
_SCHEMA_LOCK, _WRITE_LOCK = 0x636F7374, 0x636F7375
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


_BEFORE, _ELSEWHERE = f"{TABLE}_before", f"{TABLE}_other"
_MONTH = re.compile(f"{TABLE}_(\\d{{4}})_(\\d\\d)")
_UPPER_BOUND = re.compile(r"TO \('?([-+.\de]+)'?\)")
_LAST_MOMENT = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


def monthly_partitions(connection: Connection) -> None:
    """One table per UTC month, so that old events go with their table; what was there before becomes one of them.

    Each knows its own ids, since Postgres wants the column that divides a table in every unique index of the whole.
    """
    kind = connection.execute(f"SELECT relkind FROM pg_class WHERE oid = '{TABLE}'::regclass").fetchone()
    if kind is None or kind[0] in ("p", b"p"):
        return
    (newest,) = connection.execute(f"SELECT MAX(time) FROM {TABLE}").fetchone() or (None,)
    connection.execute(f"ALTER TABLE {TABLE} RENAME TO {_BEFORE}")
    connection.execute(f"CREATE TABLE {TABLE} (LIKE {_BEFORE} INCLUDING DEFAULTS) PARTITION BY RANGE (time)")
    connection.execute(f"CREATE INDEX {TABLE}_by_time ON {TABLE} (time)")
    if newest is None:
        connection.execute(f"DROP TABLE {_BEFORE}")
        return
    end = str(next_month(month_start(newest))) if 0 <= newest < _LAST_MOMENT else "MAXVALUE"
    connection.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {_BEFORE} FOR VALUES FROM (MINVALUE) TO ({end})")


class PostgresDatabase:
    """``url`` is a libpq URL. Connecting gives up after 5 s unless the URL says otherwise (``connect_timeout``)."""

    mark = "%s"
    quarter = "CAST(FLOOR(time / 900) AS BIGINT)"
    character = "chr"
    join = "string_agg"
    own_migrations: tuple[Callable[[Connection], None], ...] = (monthly_partitions,)
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
        self._partitions: dict[str, float] | None = None  # names, and until when they hold everything (-inf: a month)

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
            except BaseException:
                self._partitions = None  # one that was made in the transaction is gone with it
                raise

    def has_table(self, connection: Connection, name: str) -> bool:
        return connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,)

    def lock_writing(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITE_LOCK,))

    def period(self, seconds: int) -> str:
        return f"CAST(FLOOR(time / {seconds}) AS BIGINT) * {seconds}"

    def tag(self, name: str) -> str:
        return f"(tags::json ->> '{name}')"

    def lock_schema(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        self._partitions = None  # somebody may have dropped one

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        with self.snapshot() as reader:
            yield from reader.rows(sql, values)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        with self._connect() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield _Reader(connection)

    def insert(self, connection: Connection, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> bool:
        """Into the partitions of their months, each of which knows its own ids."""
        place = list(columns).index("time")
        by_partition: dict[str, list[Sequence[Value]]] = {}
        for row in rows:
            by_partition.setdefault(self._partition(connection, row[place]), []).append(row)
        return insert_all(connection, by_partition, columns, self.mark)

    def holds(self, reader: Reader, name: str) -> bool:
        return any(found for (found,) in reader.rows("SELECT to_regclass(?)", (name,)))

    def size(self, reader: Reader) -> int | None:
        pattern = f"{TABLE.partition('_')[0]}\\_%"
        sizes = reader.rows(
            "SELECT COALESCE(SUM(pg_total_relation_size(oid)), 0) FROM pg_class "
            "WHERE relkind = 'r' AND relname LIKE ? AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = "
            f"'{TABLE}'::regclass)",
            (pattern,),
        )
        return next((int(size) for (size,) in sizes), None)

    def drop_whole_months(self, connection: Connection, before: float) -> int:
        if self._partitions is None:
            self._partitions = _read_partitions(connection)
        dropped = 0
        for name, upper_bound in list(self._partitions.items()):
            if (upper_bound if name == _BEFORE else _end_of_month(name)) <= before:
                (rows,) = connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone() or (0,)
                connection.execute(f"DROP TABLE {name}")
                del self._partitions[name]
                dropped += rows
        return dropped

    def vacuum(self, table: str) -> None:
        with self._connect() as connection:
            connection.execute(f"VACUUM (ANALYZE) {table}")

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

    def _partition(self, connection: Connection, moment: Value) -> str:
        """The table that holds the events of a moment, made if it is not there."""
        if self._partitions is None:
            self._partitions = _read_partitions(connection)
        time = float(moment) if isinstance(moment, (int, float)) else 0.0
        if time < self._partitions.get(_BEFORE, float("-inf")):
            return _BEFORE
        if not 0 <= time < _LAST_MOMENT:
            name, bounds = _ELSEWHERE, "DEFAULT"
        else:
            start = month_start(time)
            name = f"{TABLE}_{datetime.fromtimestamp(start, UTC):%Y_%m}"
            bounds = f"FOR VALUES FROM ({start}) TO ({next_month(start)})"
        if name not in self._partitions:
            # Attaching locks less than CREATE TABLE ... PARTITION OF, which waits for every report to end.
            connection.execute(f"CREATE TABLE IF NOT EXISTS {name} (LIKE {TABLE} INCLUDING DEFAULTS, PRIMARY KEY (id))")
            connection.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} {bounds}")
            self._partitions[name] = float("-inf")
        return name

    def _connect(self) -> psycopg.Connection[Row]:
        timeouts = {"connect_timeout": 5, "tcp_user_timeout": 30_000}
        missing: dict[str, Any] = {name: value for name, value in timeouts.items() if name not in self._dsn}
        return self._driver.connect(self._dsn, autocommit=True, application_name="costguard", **missing)


class _Reader:
    """Queries within the transaction of a connection."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        with self._connection.cursor(name="costguard") as cursor:
            cursor.itersize = _FETCH
            yield from cursor.execute(sql.replace("?", "%s").encode(), values)


def _end_of_month(name: str) -> float:
    """Until when a partition holds events; infinite for one that is not of a month."""
    named = _MONTH.fullmatch(name)
    if named is None:
        return float("inf")
    return next_month(int(datetime(int(named[1]), int(named[2]), 1, tzinfo=UTC).timestamp()))


def _read_partitions(connection: Connection) -> dict[str, float]:
    """The names of the partitions, and until when each holds everything: minus infinity for those of one month."""
    found = connection.execute(
        "SELECT relname, pg_get_expr(relpartbound, pg_class.oid) FROM pg_inherits "
        f"JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = '{TABLE}'::regclass"
    ).fetchall()
    partitions = dict.fromkeys((str(name) for name, _ in found), float("-inf"))
    for name, bounds in found:
        if name == _BEFORE:
            end = _UPPER_BOUND.search(bounds)
            partitions[_BEFORE] = float(end[1]) if end else float("inf")
    return partitions


def _secrets(url: str, password: str | None, others: Sequence[str]) -> tuple[str, ...]:
    known = (url, password, unquote(password or ""), *others)
    return tuple(sorted({secret for secret in known if secret}, key=len, reverse=True))
