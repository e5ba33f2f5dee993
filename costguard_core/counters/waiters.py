"""Calls of one process that wait for room in a budget, and are woken where a limit is raised here."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from costguard_core.util.forks import renew_locks

if TYPE_CHECKING:
    from collections.abc import Iterator


class Waiters:
    """Who waits. Nothing is kept of a call that does not.

    Attributes:
        changes: how often they were woken so far: what changed while a call asked for room is not missed.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._lock = threading.Lock()
        self._waiting: set[Future[None]] = set()
        renew_locks(self, "_lock")

    def wake(self) -> None:
        """Let every call that waits ask again now."""
        with self._lock:
            self.changes += 1
            waiting = tuple(self._waiting)
        for future in waiting:
            with suppress(InvalidStateError):  # it gave up, or was woken already
                future.set_result(None)

    def wait(self, seen: int, seconds: float) -> bool:
        """Block until somebody is woken, at most ``seconds``. Returns whether there was a change since ``seen``."""
        with self._entered(seen) as future, suppress(TimeoutError):
            if future is not None:
                future.result(seconds)
        return self.changes != seen

    async def await_change(self, seen: int, seconds: float) -> bool:
        """:meth:`wait` for an event loop."""
        with self._entered(seen) as future, suppress(TimeoutError):
            if future is not None:
                # Before Python 3.12, wait_for() loses a cancellation that comes together with the change.
                async with asyncio.timeout(seconds):
                    await asyncio.wrap_future(future)
        return self.changes != seen

    @contextmanager
    def _entered(self, seen: int) -> Iterator[Future[None] | None]:
        """Wait from here on; ``None``: something has changed already."""
        future: Future[None] = Future()
        with self._lock:
            late = self.changes != seen
            if not late:
                self._waiting.add(future)
        try:
            yield None if late else future
        finally:
            with self._lock:
                self._waiting.discard(future)
