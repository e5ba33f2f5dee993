"""Who in this process uses a folder of Chroma's: many at a time, or one alone.

Rewriting its SQLite file takes a second SQLite library beside the one in Chroma's client. They do not see each other's
locks, and while both have the file open, either may damage it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, get_ident
from weakref import WeakMethod, WeakValueDictionary

from costguard_core.cache.semantic.index.base import IndexUnavailable
from costguard_core.util.forks import after_fork, renew_locks


class ChromaFolder:
    """One for each folder; see :func:`folder_at`."""

    def __init__(self) -> None:
        # The turn is for whoever comes next, the room is taken by the first of many or by one alone.
        self._turn, self._room, self._counting = Lock(), Lock(), Lock()
        self._users = 0
        self._alone: int | None = None  # its thread
        self._disconnects: list[WeakMethod[Callable[[], None]]] = []
        renew_locks(self, "_turn", "_room", "_counting")
        after_fork(self, "_after_fork")

    def add(self, disconnect: Callable[[], None]) -> None:
        """A method that closes a client of this folder."""
        self._disconnects = [*(one for one in self._disconnects if one() is not None), WeakMethod(disconnect)]

    @contextmanager
    def shared(self, patience: float = -1) -> Iterator[None]:
        """Use a client of the folder. Whoever is alone does so at once.

        Args:
            patience: seconds to wait while somebody is alone; -1: for as long as it takes.

        Raises:
            IndexUnavailable: it took longer.
        """
        if self._alone == get_ident():
            yield
            return
        if not self._turn.acquire(timeout=patience):
            raise IndexUnavailable("its files are being rewritten")
        try:
            with self._counting:
                if self._users == 0:
                    self._room.acquire()
                self._users += 1
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._counting:
                self._users -= 1
                if self._users == 0:
                    self._room.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one; the clients of all others are closed, and opened again at their next use."""
        with self._turn, self._room:
            for method in self._disconnects:
                if (disconnect := method()) is not None:
                    disconnect()
            self._alone = get_ident()
            try:
                yield
            finally:
                self._alone = None

    def _after_fork(self) -> None:
        self._users, self._alone = 0, None  # the parent's


_FOLDERS: WeakValueDictionary[Path, ChromaFolder] = WeakValueDictionary()
_FOLDERS_LOCK = Lock()
renew_locks(sys.modules[__name__], "_FOLDERS_LOCK")


def folder_at(path: Path) -> ChromaFolder:
    """The one for this folder, the same for every cache of this process."""
    with _FOLDERS_LOCK:
        return _FOLDERS.setdefault(path.resolve(), ChromaFolder())
