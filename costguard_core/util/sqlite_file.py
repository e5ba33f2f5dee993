"""A SQLite file that threads and processes share: a connection to write and one to read, which waits for no writer."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from costguard_core.util.forks import renew_locks
from costguard_core.util.private_files import create_private_file
from costguard_core.util.sqlite_lock import LockPatience

T = TypeVar("T")

MEMORY = ":memory:"


class SqliteFile:
    """Opened at its first use, in every process anew: a connection must not cross a fork.

    Args:
        path: the file, made when missing, for its owner alone; ``":memory:"`` for tests.
        schema: statements that make the tables where they are missing.
        patience: seconds to wait for the file's lock while its holder shows no progress.
        erasing: what is deleted is overwritten with zeros.
    """

    def __init__(self, path: str, schema: str, *, patience: float, erasing: bool = False) -> None:
        self._path, self._schema, self._erasing = path, schema, erasing
        self._patience = LockPatience(Path(path).expanduser(), patience=patience)
        self._read_lock, self._write_lock = Lock(), Lock()
        renew_locks(self, "_read_lock", "_write_lock")
        self._pid = 0
        self._reader: sqlite3.Connection
        self._writer: sqlite3.Connection
        self._parents: list[sqlite3.Connection] = []

    @property
    def is_open(self) -> bool:
        return self._pid == os.getpid()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """What a query finds.

        Raises:
            sqlite3.Error: whatever the file raises.
        """
        return self._patience.run(lambda: self.rows_at_once(query, values))

    def rows_at_once(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """:meth:`rows`, without waiting for a lock on the file."""
        with self._read_lock:
            self._open()
            return self._reader.execute(query, values).fetchall()

    def reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns. All its queries see the file as it is now, whoever writes meanwhile."""
        return self._patience.run(lambda: self._read(work))

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, of this process and this thread alone; what raises in it undoes it."""
        with self._write_lock:
            self._patience.run(self._begin)
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have done so itself, and the first error says what happened
                    self._writer.execute("ROLLBACK")
                raise

    def empty_log(self) -> None:
        """Write the write-ahead log into the file and cut it to nothing: it still holds what was deleted.

        Raises:
            LockHeld: others read it for too long.
        """
        with self._write_lock:
            self._patience.run(self._empty_log)

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            if self.is_open:
                self._reader.close()
                self._writer.close()
            self._pid = 0

    def _begin(self) -> None:
        with self._read_lock:
            self._open()
        self._writer.execute("BEGIN IMMEDIATE")

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._read_lock:
            self._open()
            self._reader.execute("BEGIN")
            try:
                return work(self._reader)
            finally:
                self._reader.execute("COMMIT")

    def _empty_log(self) -> None:
        with self._read_lock:
            self._open()
            [(busy, _, _)] = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    def _open(self) -> None:
        if self.is_open:
            return
        if self._pid:  # of the parent, whose locks and log a child must not close
            self._parents += [self._reader, self._writer]
        if self._path != MEMORY:
            Path(self._path).expanduser().absolute().parent.mkdir(parents=True, exist_ok=True)
        writer = self._connect(self._schema)
        try:
            self._reader = writer if self._path == MEMORY else self._connect()
        except BaseException:
            writer.close()
            raise
        self._writer, self._pid = writer, os.getpid()

    def _connect(self, schema: str = "") -> sqlite3.Connection:
        path = Path(self._path).expanduser()
        if self._path != MEMORY:
            create_private_file(path)
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            if self._erasing:
                db.execute("PRAGMA secure_delete = ON").fetchall()
            db.executescript(schema)
        except BaseException:
            db.close()
            raise
        return db
