"""One SQLite file, used by the threads of this process in turn and shared with other processes.

Threads queue in front of a single connection, so that only one of them competes for the file's lock.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from costguard_core.counters.sqlite import tables
from costguard_core.errors import StoreUnavailable
from costguard_core.util.forks import after_fork
from costguard_core.util.private_files import create_private_file
from costguard_core.util.sqlite_lock import LockHeld, LockPatience, error_code, is_busy

logger = logging.getLogger("costguard")

_T = TypeVar("_T")


class Busy(Exception):
    """Somebody else has the file just now, and the caller did not want to wait."""


class SqliteFile:
    """Runs transactions on one file; every failure is a :class:`StoreUnavailable`.

    Args:
        path: the file; made when missing, for its owner alone (its directory is not made).
        url: what errors call it.
        patience: seconds to wait for a lock whose holder shows no sign of progress. Time in which this process did not
            run (its container had used up its share of the processors) is not counted.
    """

    def __init__(self, path: Path, url: str, *, patience: float) -> None:
        self._path, self._url = path, url
        self._lock = LockPatience(path, patience=patience)
        self._queue = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._inherited: list[sqlite3.Connection] = []
        after_fork(self, "_forked")

    def write(self, work: Callable[[sqlite3.Connection], _T], *, wait: bool = True) -> _T:
        """The result of ``work`` in a write transaction.

        Raises:
            Busy: ``wait`` is false and the file is in use.
            StoreUnavailable: the file cannot be used; nothing was changed.
        """
        return self._run("BEGIN IMMEDIATE", work, wait=wait)

    def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """The result of ``work`` on one snapshot of the file; never waits for writers of other processes."""
        return self._run("BEGIN", work, wait=True)

    def close(self) -> None:
        with self._queue:
            self._disconnect()

    def _run(self, begin: str, work: Callable[[sqlite3.Connection], _T], *, wait: bool) -> _T:
        if not self._queue.acquire(timeout=self._lock.longest if wait else 0):
            if not wait:
                raise Busy
            raise StoreUnavailable(self._url, f"more calls wait for it than it serves in {self._lock.longest:.0f} s")
        try:
            connection = self._patiently(self._connected, wait=wait)
            self._patiently(lambda: connection.execute(begin), wait=wait)
            try:
                answer = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return answer
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise StoreUnavailable(self._url, _cause(error, self._path)) from error
        finally:
            self._queue.release()

    def _patiently(self, action: Callable[[], _T], *, wait: bool) -> _T:
        """``action``, tried again while others have the lock: as long as they get on with their work, not longer."""
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if not wait:
                raise Busy from None
        try:
            return self._lock.wait(action)
        except LockHeld:
            held = f"another process holds its lock, for {self._lock.patience} s or longer"
            raise StoreUnavailable(self._url, held) from None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._same_file():
            return self._connection
        self._disconnect()
        create_private_file(self._path)
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, self._url)
        except BaseException:
            connection.close()
            raise
        found = self._path.stat()
        self._connection, self._inode = connection, (found.st_dev, found.st_ino)
        return connection

    def _same_file(self) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is not None and (found.st_dev, found.st_ino) == self._inode:
            return True
        logger.warning("costguard: %s was removed or replaced; counting goes on in the file there now", self._path)
        return False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _forked(self) -> None:
        # A connection must not be used, nor closed, in a forked child: its locks belong to the parent.
        if self._connection is not None:
            self._inherited.append(self._connection)
        self._connection, self._queue = None, threading.Lock()


def _prepare(connection: sqlite3.Connection, url: str) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = NORMAL")
    tables.create(connection, url)


def _cause(error: Exception, path: Path) -> str:
    code = error_code(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"{path} is damaged or is not a SQLite database; it was left as it is. Restore a backup, or move it away "
            f"to start counting from zero: {error}"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"{path} cannot be opened; is its directory there, and writable? {error}"
    return f"{path}: {error}"
