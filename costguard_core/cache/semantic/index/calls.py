"""Calls of an index that may be down or hang: given up for a while when they fail, never waited for too long."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from costguard_core.cache.semantic.index.base import IndexUnavailable
from costguard_core.errors import CostGuardError
from costguard_core.util.forks import after_fork

T = TypeVar("T")

_THREADS = 8  # searches on a server at the same time; a choice
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds without an attempt after a failure, doubling; a choice
_PANIC = "PanicException"  # Chroma's Rust part raises it, outside of Exception


class IndexCalls:
    """Runs work on an index.

    Args:
        timeout: seconds that a search may take where ``remote``.
        remote: a server, which may hang: searches run in threads, because not each client has a limit of its own.
        on_failure: called after each failure.
        on_fork: called in a forked child, which must not use its parent's connections.
    """

    def __init__(
        self,
        *,
        timeout: float,
        remote: bool,
        on_failure: Callable[[], None],
        on_fork: Callable[[], None] | None = None,
    ) -> None:
        self._timeout, self._remote = timeout, remote
        self._on_failure, self._on_fork = on_failure, on_fork
        self._paused_until, self._pause = 0.0, _FIRST_PAUSE
        self._advice: CostGuardError | None = None
        self._cause = ""
        self._threads = self._new_threads()
        after_fork(self, "_after_fork")

    def run(self, work: Callable[[], T]) -> T:
        """``work``, unless the index is down; whatever breaks makes it down for a while.

        Raises:
            IndexUnavailable: it failed, or did a moment ago.
            CostGuardError: what ``work`` raised of these, now or a moment ago, which says what to do.
        """
        with self._watched():
            return work()

    def run_in_time(self, work: Callable[[], T]) -> T:
        """:meth:`run`; a server that hangs does not hold up the call, as a client may do for ever."""
        if self._threads is None:
            return self.run(work)
        with self._watched():
            return self._threads.submit(work).result(self._timeout)

    async def arun_in_time(self, work: Callable[[], T]) -> T:
        """:meth:`run_in_time` for an event loop; in a thread, because async clients live in one loop only."""
        if self._threads is None:
            return await asyncio.to_thread(self.run, work)
        with self._watched():
            # Before Python 3.12, wait_for() loses a cancellation that comes together with the result.
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(self._threads.submit(work))

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _new_threads(self) -> ThreadPoolExecutor | None:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="costguard-index") if self._remote else None

    def _after_fork(self) -> None:
        self._threads = self._new_threads()  # its threads are the parent's
        if self._on_fork is not None:
            self._on_fork()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        if time.monotonic() < self._paused_until:
            if self._advice is not None:
                raise self._advice.with_traceback(None)
            raise IndexUnavailable(f"{self._cause}; waiting before the next attempt")
        try:
            yield
        except CostGuardError as error:  # somebody has to mend that; until then, no call pays for finding out
            self._record_failure(error)
            raise
        except BaseException as error:
            reraise_unless_failure(error)
            self._cause = type(error).__name__
            if isinstance(error, sqlite3.Error):  # drivers of servers may quote a URL
                self._cause = str(error)
            self._record_failure()
            raise IndexUnavailable(self._cause) from error
        self._paused_until, self._pause = 0.0, _FIRST_PAUSE

    def _record_failure(self, advice: CostGuardError | None = None) -> None:
        self._advice = advice
        self._paused_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._on_failure()


def reraise_unless_failure(error: BaseException) -> None:
    """Raise what is no failure of the index: interrupts and exits."""
    if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
        raise error
