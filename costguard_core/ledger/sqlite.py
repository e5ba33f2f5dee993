"""The ledger in a SQLite file, or in memory."""

from __future__ import annotations

import math
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from costguard_core.errors import CostGuardError
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Connection, Reader, Row, Value, insert_all
from costguard_core.ledger.rollups import GROUPS, ROLLUPS
from costguard_core.ledger.sessions import TABLES as SESSIONS
from costguard_core.util.private_files import create_private_file

# A file up to this size is looked through once per process: 36 MB, 200,000 events, took 0.2 s.
_CHECKED_BYTES = 64_000_000
_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
# Waiting never makes these better: the path is wrong, or what is there is not a database that we may write.
_SETUP_FAULTS = frozenset({"SQLITE_CANTOPEN", "SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_READONLY"})


_MATHEMATICS: dict[str, Callable[[float], float]] = {"ln": math.log, "ceil": math.ceil}


def clustered_rollups(connection: Connection) -> None:
    """Keep roll-ups in the order of their keys instead of beside an index of them, which halves what a report reads.

    A group's id becomes the number of its row. https://www.sqlite.org/withoutrowid.html
    """
    _cluster(connection, ROLLUPS, r"\Z", " WITHOUT ROWID")
    clustered_sessions(connection)
    _cluster(connection, GROUPS, r"\bBIGINT PRIMARY KEY", "INTEGER PRIMARY KEY")


def clustered_sessions(connection: Connection) -> None:
    """The same for the tables of sessions."""
    for table in SESSIONS:
        _cluster(connection, table, r"\Z", " WITHOUT ROWID")


def _cluster(connection: Connection, table: str, old: str, new: str) -> None:
    """Copy a table into one whose definition is changed, unless that was done."""
    (made,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone() or ("",)
    if not made or "WITHOUT ROWID" in made or "INTEGER PRIMARY KEY" in made:
        return
    of_indexes = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    indexes = connection.execute(of_indexes, (table,)).fetchall()
    wanted = re.sub(rf"\A(CREATE TABLE )\W?{table}\W?(?=[ (])", rf"\g<1>{table}_new", made)
    connection.execute(re.sub(old, new, wanted))
    connection.execute(f"INSERT INTO {table}_new SELECT * FROM {table} ORDER BY 1, 2, 3")
    connection.execute(f"DROP TABLE {table}")
    connection.execute(f"ALTER TABLE {table}_new RENAME TO {table}")
    for (index,) in indexes:
        connection.execute(index)


class SqliteDatabase:
    """WAL and ``synchronous=NORMAL``: a committed batch survives the death of the process, if not always a power cut.

    ``path=None`` is a database in memory, shared by the threads of this process.
    """

    mark = "?"
    quarter = "CAST(time / 900 AS INTEGER)"
    character = "char"
    join = "group_concat"
    own_migrations: tuple[Callable[[Connection], None], ...] = (clustered_rollups, clustered_sessions)
    find = "instr"
    bytewise = "BINARY"
    error: type[Exception] = sqlite3.Error
    row_faults: tuple[type[Exception], ...] = (
        sqlite3.DataError,
        sqlite3.IntegrityError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
        OverflowError,
        UnicodeError,
    )

    def __init__(self, path: str | None, *, read_only: bool = False, busy_timeout: float = 5.0) -> None:
        # A relative path means the place where the application was started, wherever it goes from there.
        self._path = None if path is None else str(Path(path).expanduser().absolute())
        self._read_only, self._busy_timeout = read_only, busy_timeout
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._abandoned: list[sqlite3.Connection] = []
        self.url = "memory://" if path is None else f"sqlite:///{path}"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._lock:
            connection = self._writer()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException as error:
                if getattr(error, "sqlite_errorname", None) in _DAMAGED:
                    self._disconnect()  # the next attempt may find the file put right
                elif connection.in_transaction:
                    connection.rollback()
                raise

    def missing_tables(self, connection: Connection, names: Sequence[str]) -> frozenset[str]:
        query = f"SELECT name FROM sqlite_schema WHERE name IN ({', '.join('?' * len(names))})"
        return frozenset(names) - {name for (name,) in connection.execute(query, tuple(names)).fetchall()}

    def lock_writing(self, connection: Connection) -> None:
        """``BEGIN IMMEDIATE`` has locked the file already."""

    def period(self, seconds: int, of: str = "time") -> str:
        return f"CAST(({of}) / {seconds} AS INTEGER) * {seconds}"

    def tag(self, name: str) -> str:
        return f"json_extract(tags, '$.\"{name}\"')"

    def lock_schema(self, connection: Connection) -> None:
        """``BEGIN IMMEDIATE`` has locked the file already."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        if self._path is None:
            with self._lock:
                found = self._writer().execute(sql, values).fetchall()
            yield from found
            return
        with closing(self._connect()) as connection:
            yield from connection.execute(sql, values)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        if self._path is None:
            with self._lock:
                yield self
            return
        with closing(self._connect()) as connection:
            connection.execute("BEGIN")
            yield _Reader(connection)

    def insert(self, connection: Connection, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> bool:
        return insert_all(connection, {TABLE: rows}, columns, self.mark)

    def holds(self, reader: Reader, name: str) -> bool:
        return any(reader.rows("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)))

    def size(self, reader: Reader) -> int | None:
        if self._path is None:
            return None
        files = (Path(self._path), Path(f"{self._path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def drop_whole_months(self, connection: Connection, before: float) -> int:
        """Nothing: a file has one table."""
        return 0

    def vacuum(self, table: str) -> None:
        with self._lock:
            connection = self._writer()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def explain(self, error: Exception) -> str:
        advice = ""
        if getattr(error, "sqlite_errorname", None) in _DAMAGED:
            advice = " (the file is damaged: restore a backup, or move it away to begin a new one)"
        return f"{type(error).__name__}: {error}{advice}"

    def is_missing_table(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.OperationalError) and "no such table" in str(error)

    def is_already_there(self, error: Exception) -> bool:
        text = str(error)
        return isinstance(error, sqlite3.OperationalError) and ("already exists" in text or "duplicate column" in text)

    def verify(self, table: str) -> None:
        """Through a connection of its own: the writer has pages in its memory that the file may have lost."""
        if self._path is None:
            return
        newest = f"SELECT max(rowid) FROM {table}"
        with self._lock:
            (written,) = self._writer().execute(newest).fetchone()
            try:
                with closing(self._reader()) as reader:
                    (found,) = reader.execute(newest).fetchone()
            except sqlite3.Error as error:
                if not _is_busy(error):
                    self._disconnect()  # the next attempt may find the file put right
                raise
            if written is not None and (found is None or found < written):
                self._disconnect()
                raise CostGuardError("what was just written is not in the file: it was damaged or replaced")

    def find_damage(self) -> str | None:
        if self._path is None or Path(self._path).stat().st_size > _CHECKED_BYTES:
            return None
        try:
            with closing(self._reader()) as reader:
                (found,) = reader.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return None if _is_busy(error) else self.explain(error)
        return None if found == "ok" else str(found).splitlines()[-1]  # after a line that says in which database

    def is_setup_fault(self, error: Exception) -> bool:
        return getattr(error, "sqlite_errorname", None) in _SETUP_FAULTS

    def abandon(self) -> None:
        # Closing it here would drop the parent's file locks and could delete its WAL, so it must outlive this process.
        if self._connection is not None:
            self._abandoned.append(self._connection)
            self._last_rites.detach()
        self._connection, self._lock = None, threading.RLock()

    def close(self) -> None:
        if self._path is not None:  # what is only in memory stays readable as long as the ledger is there
            self._disconnect()

    def _disconnect(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _writer(self) -> sqlite3.Connection:
        if self._connection is not None and self._replaced():
            self._disconnect()
        if self._connection is None:
            self._connection = self._connect()
            self._inode = self._file_number()
            self._last_rites = weakref.finalize(self, self._connection.close)
            self._last_rites.atexit = False  # the exit hook of the writer may come later
        return self._connection

    def _replaced(self) -> bool:
        """Somebody deleted or replaced the file: what we write into the old one, nobody would ever read."""
        return self._path is not None and self._file_number() != self._inode

    def _file_number(self) -> int | None:
        try:
            return None if self._path is None else Path(self._path).stat().st_ino
        except OSError:
            return None

    def _connect(self) -> sqlite3.Connection:
        name = self._path or ":memory:"
        if self._path is not None and not self._read_only:
            create_private_file(self._path)
        if self._read_only:
            name = f"{Path(name).as_uri()}?mode=ro"
        connection = sqlite3.connect(
            name, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False, uri=self._read_only
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reader(self) -> sqlite3.Connection:
        """A connection that sees the file as another process does, and changes nothing."""
        assert self._path is not None
        return sqlite3.connect(f"{Path(self._path).as_uri()}?mode=ro", timeout=self._busy_timeout, uri=True)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        for name, function in _MATHEMATICS.items():  # which SQLite may have been built without
            try:
                connection.execute(f"SELECT {name}(1.0)")
            except sqlite3.OperationalError as error:
                if "no such function" not in str(error):
                    raise
                connection.create_function(name, 1, function, deterministic=True)
        if self._path is not None and not self._read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")


class _Reader:
    """Queries within the transaction of a connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        yield from self._connection.execute(sql, values)


def _is_busy(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY")
