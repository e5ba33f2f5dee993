"""One SQLite file, used by the threads of this process in turn and shared with other processes.

Threads queue in front of a single connection, so that only one of them competes for the file's lock: SQLite's own busy
handler sleeps in growing steps, which with 32 threads took 80-180 ms at the 99th percentile.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from costguard_core.counters.sqlite import tables
from costguard_core.errors import StoreUnavailable
from costguard_core.util.forks import after_fork
from costguard_core.util.private_files import create_private_file

logger = logging.getLogger("costguard")

_T = TypeVar("_T")
_QUEUE_TIMEOUT = 5.0  # seconds, unless the patience with a lock is longer; a choice
_STUCK_REMEMBERED = 0.5  # seconds in which others do not wait for a lock that somebody has just waited for in vain
# The longest part of a pause that counts as waiting, in seconds. The pauses are of a millisecond; one that took far
# longer means that this process did not run, and the holder of the lock, which shares its processors, perhaps neither.
_COUNTED_PAUSE = 0.01


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
        self._path, self._url, self._patience = path, url, patience
        self._queue_timeout = max(_QUEUE_TIMEOUT, patience)
        self._queue = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._stuck_until = 0.0
        self._stuck_at: tuple[int, ...] = ()
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
        if not self._queue.acquire(timeout=self._queue_timeout if wait else 0):
            if not wait:
                raise Busy
            raise StoreUnavailable(self._url, f"more calls wait for it than it serves in {self._queue_timeout:.0f} s")
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
            if not _is_busy(error):
                raise
            if not wait:
                raise Busy from None
        return self._waiting(action)

    def _waiting(self, action: Callable[[], _T]) -> _T:
        started = before = time.monotonic()
        waited, seen = 0.0, self._progress()
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
            now = time.monotonic()
            waited += min(now - before, _COUNTED_PAUSE)
            before = now
            if seen != (seen := self._progress()):
                waited = 0.0
            if waited > self._patience or now - started > self._queue_timeout or self._known_stuck(seen, now):
                # Callers queueing behind this one would each wait as long: let them find out at once instead.
                self._stuck_until, self._stuck_at = now + _STUCK_REMEMBERED, seen
                raise StoreUnavailable(self._url, f"another process holds its lock, for {self._patience} s or longer")
            time.sleep(random.uniform(0.0002, 0.001))

    def _known_stuck(self, seen: tuple[int, ...], now: float) -> bool:
        """Whether somebody here has just waited in vain, and nothing was committed since."""
        return now < self._stuck_until and seen == self._stuck_at

    def _progress(self) -> tuple[int, ...]:
        """Changes whenever any process commits something."""
        return _signature(self._path) + _signature(self._path.with_name(self._path.name + "-wal"))

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


def _signature(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF  # without the extended part


def _cause(error: Exception, path: Path) -> str:
    code = _code(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"{path} is damaged or is not a SQLite database; it was left as it is. Restore a backup, or move it away "
            f"to start counting from zero: {error}"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"{path} cannot be opened; is its directory there, and writable? {error}"
    return f"{path}: {error}"
