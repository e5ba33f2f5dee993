"""Waiting for the lock of a SQLite file: as long as its holder gets on with its work, and not for one that hangs.

SQLite's own busy handler does neither. It sleeps in growing steps, which with 32 threads took 80 to 180 ms at the 99th
percentile, it counts the time in which a throttled container did not run, and it is not asked at all where SQLite sees
a deadlock coming: of processes that open a new file together and switch it to a write-ahead log, one is told "database
is locked" at once (https://www.sqlite.org/c3ref/busy_handler.html).
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LONGEST_WAIT = 5.0  # seconds, unless the patience is longer; a choice
_STUCK_REMEMBERED = 0.5  # seconds in which others do not wait for a lock that somebody has just waited for in vain
# The longest part of a pause that counts as waiting, in seconds. The pauses are of a millisecond; one that took far
# longer means that this process did not run, and the holder of the lock, which shares its processors, perhaps neither.
_COUNTED_PAUSE = 0.01


class LockHeld(sqlite3.OperationalError):
    """The lock of a file was waited for in vain."""


class LockPatience:
    """How long callers wait for the lock of one file. Its connections are opened with ``timeout=0``.

    Args:
        path: the file.
        patience: seconds to wait for a lock whose holder shows no sign of progress. Time in which this process did not
            run (its container had used up its share of the processors) is not counted.
    """

    def __init__(self, path: Path, *, patience: float) -> None:
        self.path, self.patience = path, patience
        self.longest = max(LONGEST_WAIT, patience)
        self._stuck_until = 0.0
        self._stuck_at: tuple[int, ...] = ()

    def run(self, action: Callable[[], T]) -> T:
        """``action``, tried again while others have the lock.

        Raises:
            LockHeld: they had it for too long.
            sqlite3.Error: whatever else ``action`` raises.
        """
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        return self.wait(action)

    def wait(self, action: Callable[[], T]) -> T:
        """As :meth:`run`, after a first attempt."""
        started = before = time.monotonic()
        waited, seen = 0.0, self.progress()
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            now = time.monotonic()
            waited += min(now - before, _COUNTED_PAUSE)
            before = now
            if seen != (seen := self.progress()):
                waited = 0.0
            if waited > self.patience or now - started > self.longest or self._known_stuck(seen, now):
                # Callers queueing behind this one would each wait as long: let them find out at once instead.
                self._stuck_until, self._stuck_at = now + _STUCK_REMEMBERED, seen
                raise LockHeld(
                    f"database is locked: another process holds its lock, for {self.patience} s or longer"
                ) from None
            time.sleep(random.uniform(0.0002, 0.001))

    def progress(self) -> tuple[int, ...]:
        """Changes whenever any process commits something."""
        return _signature(self.path) + _signature(self.path.with_name(self.path.name + "-wal"))

    def _known_stuck(self, seen: tuple[int, ...], now: float) -> bool:
        """Whether somebody here has just waited in vain, and nothing was committed since."""
        return now < self._stuck_until and seen == self._stuck_at


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else has the lock."""
    return error_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def error_code(error: BaseException) -> int:
    """SQLite's code of an error, without its extended part; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _signature(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size
