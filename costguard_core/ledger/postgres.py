"""The ledger in Postgres (extra ``postgres``)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote

from costguard_core.errors import MissingExtraError
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Connection, Reader, Row, Value, insert_all
from costguard_core.ledger.months import month_start, next_month
from costguard_core.util.urls import split

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
# Months stand in a schema of their own, so that whoever lists, restores or drops the ledger's tables meets each once:
# a table takes its months along. Where no schema may be made they stand beside it.
_SCHEMA_OF_MONTHS = "costguard_months"
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
    if (schema := _schema_of_months(connection)) is not None:
        connection.execute(f"ALTER TABLE {_BEFORE} SET SCHEMA {schema}")


def _schema_of_months(connection: Connection) -> str | None:
    """The schema of the months, made if it is not there; ``None`` where the user may make none.

    It is named after the schema of the ledger, because a database may hold several ledgers.
    """
    (own, may_make) = connection.execute(
        "SELECT current_schema(), has_database_privilege(current_database(), 'CREATE')"
    ).fetchone() or ("public", False)
    plain = "".join([letter if letter.isalnum() and letter.isascii() else "_" for letter in str(own)])[:40].lower()
    name = _SCHEMA_OF_MONTHS if own == "public" else f"{_SCHEMA_OF_MONTHS}_{plain}"
    if may_make:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
        return name
    usable = "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s"
    return name if connection.execute(usable, (name,)).fetchone() in ((True,), (b"t",)) else None


class PostgresDatabase:
    """``url`` is a libpq URL. Connecting gives up after 5 s unless the URL says otherwise (``connect_timeout``)."""

    mark = "%s"
    quarter = "CAST(FLOOR(time / 900) AS BIGINT)"
    character = "chr"
    join = "string_agg"
    own_migrations: tuple[Callable[[Connection], None], ...] = (monthly_partitions,)
    find = "strpos"
    bytewise = '"C"'

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
        parts = split(url)
        self._hidden = _secrets(url, parts.password, parse_qs(parts.query).get("password", []))
        self.url = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Row] | None = None
        self._abandoned: list[object] = []
        self._partitions: dict[str, _Partition] | None = None  # by name

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

    def missing_tables(self, connection: Connection, names: Sequence[str]) -> frozenset[str]:
        query = "SELECT name FROM unnest(string_to_array(%s, ' ')) AS name WHERE to_regclass(name) IS NULL"
        return frozenset(name for (name,) in connection.execute(query, (" ".join(names),)).fetchall())

    def lock_writing(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITE_LOCK,))

    def period(self, seconds: int, of: str = "time") -> str:
        return f"CAST(FLOOR(({of}) / {seconds}) AS BIGINT) * {seconds}"

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
            "SELECT COALESCE(SUM(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND ("
            f"oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = '{TABLE}'::regclass) OR (relname LIKE ? "
            f"AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = '{TABLE}'::regclass)))",
            (pattern,),
        )
        return next((int(size) for (size,) in sizes), None)

    def drop_whole_months(self, connection: Connection, before: float) -> int:
        if self._partitions is None:
            self._partitions = _read_partitions(connection)
        dropped = 0
        for name, partition in list(self._partitions.items()):
            if (partition.until if name == _BEFORE else _end_of_month(name)) <= before:
                (rows,) = connection.execute(f"SELECT COUNT(*) FROM {partition.table}").fetchone() or (0,)
                connection.execute(f"DROP TABLE {partition.table}")
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
        if (old := self._partitions.get(_BEFORE)) is not None and time < old.until:
            return old.table
        if not 0 <= time < _LAST_MOMENT:
            name, bounds = _ELSEWHERE, "DEFAULT"
        else:
            start = month_start(time)
            name = f"{TABLE}_{datetime.fromtimestamp(start, UTC):%Y_%m}"
            bounds = f"FOR VALUES FROM ({start}) TO ({next_month(start)})"
        if (known := self._partitions.get(name)) is not None:
            return known.table
        schema = _schema_of_months(connection)
        table = name if schema is None else f"{schema}.{name}"
        # Attaching locks less than CREATE TABLE ... PARTITION OF, which waits for every report to end.
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (LIKE {TABLE} INCLUDING DEFAULTS, PRIMARY KEY (id))")
        connection.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {table} {bounds}")
        self._partitions[name] = _Partition(table)
        return table

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


class _Partition(NamedTuple):
    """A part of the table of events.

    Attributes:
        table: its name, with its schema where that is needed.
        until: for the part that holds everything before some time, that time; unix seconds.
    """

    table: str
    until: float = float("-inf")


def _read_partitions(connection: Connection) -> dict[str, _Partition]:
    """The partitions by name."""
    found = connection.execute(
        "SELECT relname, inhrelid::regclass::text, pg_get_expr(relpartbound, pg_class.oid) FROM pg_inherits "
        f"JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = '{TABLE}'::regclass"
    ).fetchall()
    partitions = {str(name): _Partition(str(table)) for name, table, _ in found}
    for name, table, bounds in found:
        if name == _BEFORE:
            end = _UPPER_BOUND.search(bounds)
            partitions[_BEFORE] = _Partition(str(table), float(end[1]) if end else float("inf"))
    return partitions


def _secrets(url: str, password: str | None, others: Sequence[str]) -> tuple[str, ...]:
    known = (url, password, unquote(password or ""), *others)
    return tuple(sorted({secret for secret in known if secret}, key=len, reverse=True))
